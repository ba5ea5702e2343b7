"""`rdd recompress`: tables for people, numbers for machines, and what is refused."""

from __future__ import annotations

from pathlib import Path

import rducodec
from tests.cli.command import latent, pixels, refused, run
from tests.test_recompress import file


def test_the_report_says_what_was_saved_and_by_what(tmp_path: Path) -> None:
    old, out = tmp_path / "old.rdd", tmp_path / "new.rdd"
    old.write_bytes(file())
    outcome = run("recompress", old, out, "--effort", 1)
    assert outcome.code == 0
    saved = len(old.read_bytes()) - len(out.read_bytes())
    assert "identical samples" in outcome.out
    assert f"{saved} bytes saved" in outcome.out
    assert "before: 3 entropy networks of 16x1, 3 decoder networks for 3 slices" in outcome.out
    assert run("verify", out).code == 0
    assert "shared" in run("inspect", out).out


def test_networks_with_more_inputs_are_named(tmp_path: Path) -> None:
    old, out = tmp_path / "old.rdd", tmp_path / "new.rdd"
    old.write_bytes(file(coarser_size=5, grid_biases=True))
    outcome = run("recompress", old, out, "--effort", 1)
    assert "before: 3 entropy networks of 16+5x1, grid biases, 3 decoder networks" in outcome.out
    shown = run("inspect", out).out
    assert "16 x 1 (context x depth), 5 latents of the next coarser grid, biases for each grid" in shown
    network = run("inspect", out, "--json").json["entropy_network"]
    assert (network["coarser_size"], network["grid_biases"]) == (5, True)
    assert run("verify", out).code == 0


def test_json_has_both_sizes_part_by_part(tmp_path: Path) -> None:
    old, out = tmp_path / "old.rdd", tmp_path / "new.rdd"
    old.write_bytes(file())
    found = run("recompress", old, out, "--effort", 1, "--json").json
    assert found["identical_samples"]
    for name, path in (("before", old), ("after", out)):
        assert sum(found[name]["parts"].values()) == found[name]["file_bits"] == 8 * path.stat().st_size
    assert found["saved_bytes"] == old.stat().st_size - out.stat().st_size


def test_a_file_that_cannot_shrink_is_copied(tmp_path: Path) -> None:
    old, _ = pixels(tmp_path)
    out = tmp_path / "new.rdd"
    outcome = run("recompress", old, out)
    assert "nothing smaller was found" in outcome.out
    assert out.read_bytes() == old.read_bytes()


def test_refusals(tmp_path: Path) -> None:
    old = latent(tmp_path)
    raw, _ = pixels(tmp_path)
    out = tmp_path / "new.rdd"
    assert "raw profile" in refused(7, "recompress", raw, out, "--max-mse", 1e-3)
    refused(2, "recompress", old, out, "--effort", 10)
    refused(2, "recompress", old, out, "--max-mse", -1)
    refused(6, "recompress", tmp_path / "missing.rdd", out)
    before = old.read_bytes()
    assert run("recompress", old, old, "--effort", 1).code != 0
    assert old.read_bytes() == before
    assert not out.exists()
    damaged = tmp_path / "damaged.rdd"
    damaged.write_bytes(before[:-1])
    refused(rducodec.RddFormatError.exit_code, "recompress", damaged, out)
