from __future__ import annotations

import hashlib

import pytest

import rducodec
from spec.make_vectors import resealed
from tests.cli.command import latent, pixels, refused, run


def test_what_was_checked(tmp_path):
    path = latent(tmp_path)
    out = run("verify", path).out
    assert out.count("  ok  ") == 3
    assert rducodec.read(path).sample_digest.hex() in out


def test_json(tmp_path):
    path, _ = pixels(tmp_path)
    data = path.read_bytes()
    found = run("verify", path, "--json").json
    assert found["ok"] is True
    assert found["file_bytes"] == len(data)
    assert found["file_check"] == hashlib.sha256(data[:40] + data[48:]).hexdigest()[:16]
    assert found["num_samples"] == 5


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_any_device(tmp_path, device):
    if device == "cpu":
        pytest.importorskip("torch")
    assert run("verify", latent(tmp_path), "--device", device).code == 0


def test_unknown_device(tmp_path):
    pytest.importorskip("torch")
    assert "--device" in refused(2, "verify", latent(tmp_path), "--device", "abacus")


def test_other_samples_than_promised(tmp_path):
    path = latent(tmp_path)
    data = bytearray(path.read_bytes())
    data[24] ^= 1  # the sample digest
    path.write_bytes(resealed(bytes(data)))
    message = refused(8, "verify", path)
    assert message == f"{path}: the decoded samples and labels are not those that the file promises"


def test_damaged_byte(tmp_path):
    path = latent(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "do not have the digest that was written" in refused(3, "verify", path)
