from __future__ import annotations

import rducodec
from rducodec.rate import PARTS
from tests.cli.command import latent, pixels, refused, run


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
