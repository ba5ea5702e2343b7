from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import rducodec
from rducodec.counting import METHODS
from rducodec.rate import PARTS
from tests.cli.command import latent, pixels, refused, run
from tests.interop.layouts.test_ddif import networks


def test_json_sums_to_the_file(tmp_path):
    path = latent(tmp_path)
    found = run("bpc", path, "--json").json
    assert found["file"] == str(path)
    assert found["file_bits"] == 8 * path.stat().st_size == sum(found["parts"].values())
    assert tuple(found["parts"]) == PARTS
    assert found["num_classes"] == 3
    assert found["bpc_bits"] == found["file_bits"] / 3
    assert found["bpc_kb"] == found["bpc_bits"] / 8192
    assert set(found["information_bits"]) == {"entropy_networks", "decoder_networks", "latents"}
    assert set(found["overhead"]) == {"networks", "latents", "payload"}


def test_table_shows_every_part_and_both_units(tmp_path):
    path = latent(tmp_path)
    rate = rducodec.bpc(path)
    out = run("bpc", path).out
    for name, bits in rate.parts.items():
        row = next(line for line in out.splitlines() if line.strip().startswith(name.replace("_", " ")))
        assert f"{bits:,}" in row.split()
    assert f"bits per class: {rate.bpc_bits:,.1f} = " in out
    assert f"{rate.bpc_kb:,.3f} kB (1024 bytes)" in out
    assert f"{rate.bpc_bits / 8000:,.3f} KB (1000 bytes)" in out
    assert "coded over information" in out


def test_raw_file_counts_its_samples_under_latents(tmp_path):
    path, samples = pixels(tmp_path)
    found = run("bpc", path, "--json").json
    assert found["parts"]["latents"] >= 8 * samples.size
    assert found["information_bits"] == {}
    assert "information" not in run("bpc", path).out


def test_several_files(tmp_path):
    first, (second, _) = latent(tmp_path), pixels(tmp_path)
    assert [rate["file"] for rate in run("bpc", first, second, "--json").json] == [str(first), str(second)]
    out = run("bpc", first, second).out
    assert out.index("latent.rdd") < out.index("pixels.rdd")


def test_threads_change_nothing(tmp_path):
    path = latent(tmp_path)
    assert run("bpc", path, "--threads", 1).out == run("bpc", path, "--threads", 3).out


def test_no_file():
    assert "FILE" in refused(2, "bpc")


HABA = ("bpc", "--method", "haba", "--classes", 10, "--size", 32, "--ipc", 1)


def tensors(folder):
    path = folder / "set.npz"
    np.savez(path, samples=np.zeros((5, 3, 6, 4), np.float32), labels=np.array([0, 0, 2, 2, 2]))
    return path


def test_method_from_settings_alone():
    out = run(*HABA, "--styles", 5).out
    assert "187,392" in out
    assert "S = 5,568" in out
    found = run(*HABA, "--styles", 5, "--json").json
    assert found["bits_per_class"] == 187392
    assert found["formula"].startswith("32·(ipc·B + n·S/K)")
    row = next(csv.DictReader(io.StringIO(run(*HABA, "--styles", 5, "--csv").out)))
    assert (row["method"], row["bits_per_class"]) == ("haba", "187392")


def test_method_whose_bits_need_a_file():
    options = ("--size", 128, "--spc", 51, "--context", 32, "--depth", 4)
    outcome = run("bpc", "--method", "ruo", *options, "--decoder-width", 240, "--decoder-width2", 40)
    assert outcome.code == 0
    assert "15,965 networks" in outcome.out
    assert "a file is needed" in " ".join(outcome.out.split())  # lines end where the terminal does


def test_method_without_a_public_rule():
    assert refused(7, "bpc", "--method", "hmn") == "hmn: its storage cannot be derived from public sources"


def test_settings_are_named_where_they_are_missing_or_not_used():
    assert "--styles: missing, haba needs it" in refused(2, *HABA)
    assert "--bases: haba does not use it" in refused(2, *HABA, "--styles", 5, "--bases", 16)
    assert "--ipc: 0, expected an integer of 1.." in refused(2, *HABA, "--styles", 5, "--ipc", 0)
    assert "--ipc" in refused(2, *HABA, "--styles", 5, "--ipc", "nan")
    assert "--method" in refused(2, "bpc", "--method", "abacus")
    assert "--json and --csv" in refused(2, *HABA, "--styles", 5, "--json", "--csv")
    for option in ("--threads", "--divisor", "--max-work"):
        assert f"{option}' has no meaning with --method" in refused(2, *HABA, "--styles", 5, option, 1)


def test_help_lists_the_settings_of_every_method():
    out = run("bpc", "--help").out
    assert all(name in out for name in METHODS)
    assert "--classes --size --ipc --styles" in out


def test_tensors_as_published_and_complete(tmp_path):
    path = tensors(tmp_path)
    found = run("bpc", path, "--space", "pixels", "--json").json
    assert found["as_published"]["bits_per_class"] == 5 * 72 * 32 / 3
    assert set(found["complete"]) == {"on_disk", "raw_rdd"}
    assert found["complete"]["on_disk"]["bits_per_class"] == 8 * path.stat().st_size / 3
    out = run("bpc", path, "--space", "pixels").out
    assert "as published: 32·ipc·B" in out
    assert "as a raw .rdd: 8·bytes/K" in out


def test_classes_of_tensors(tmp_path):
    found = run("bpc", tensors(tmp_path), "--space", "pixels", "--num-classes", 10, "--json").json
    assert found["num_classes"] == 10


def test_both_kinds_of_files_as_csv(tmp_path):
    out = run("bpc", latent(tmp_path), "--csv").out
    assert [row["count"] for row in csv.DictReader(io.StringIO(out))] == ["on disk"]
    out = run("bpc", tensors(tmp_path), "--space", "pixels", "--csv").out
    assert [row["count"] for row in csv.DictReader(io.StringIO(out))] == ["as published", "on disk", "as a raw .rdd"]


def test_options_that_a_file_does_not_use(tmp_path):
    path = latent(tmp_path)
    assert "--ipc has no meaning without --method" in refused(2, "bpc", path, "--ipc", 1)
    assert "--num-classes" in refused(2, "bpc", tensors(tmp_path), "--num-classes", 0)
    message = refused(7, "bpc", tensors(tmp_path))
    assert "--space" in message
    assert message.count("set.npz") == 1


def test_classes_are_of_methods_and_num_classes_of_files(tmp_path):
    message = refused(2, "bpc", tensors(tmp_path), "--classes", 10)
    assert "--classes has no meaning without --method; use --num-classes" in message
    assert "'--num-classes' has no meaning with --method" in refused(2, *HABA, "--styles", 5, "--num-classes", 3)


@pytest.mark.parametrize("option", ["--num-classes", "--factor", "--size", "--max-mse", "--latent-steps"])
def test_a_rdd_takes_nothing_said_about_a_source(tmp_path, option):
    path = latent(tmp_path)
    message = refused(2, "bpc", tensors(tmp_path), path, option, 2)
    assert f"{option} has no meaning for {path}: taken as a .rdd, which states all" in message


@pytest.mark.parametrize("option", ["--threads", "--max-file-bytes", "--max-work"])
def test_other_files_take_nothing_about_decoding(tmp_path, option):
    path = tensors(tmp_path)
    message = refused(2, "bpc", latent(tmp_path), path, "--space", "pixels", option, 10**9)
    assert "--space has no meaning" in message
    message = refused(2, "bpc", path, "--space", "pixels", option, 10**9)
    assert f"{option} has no meaning for {path}, which is no .rdd" in message


def test_one_number_is_the_size_of_both_sides(tmp_path):
    path = networks(tmp_path / "best_CIFAR10.pt")
    found = run("bpc", path, "--w0", 10, "--size", 4, "--json").json
    assert found["as_published"]["method"] == "ddif"
    assert "(--size)" in refused(7, "bpc", path, "--w0", 10)
    assert "--size: 1, expected an integer of 2.." in refused(2, "bpc", path, "--w0", 10, "--size", 1)
