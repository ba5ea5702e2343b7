"""Every vector of the specification: the valid ones decode as stated, the invalid ones are refused as stated."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import rducodec
from rducodec.entropy.plain_coder import PlainDecoder

VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
VALID = sorted(path.stem for path in (VECTORS / "valid").glob("*.rdd"))
INVALID = sorted(path.stem for path in (VECTORS / "invalid").glob("*.rdd"))


def vector(kind: str, name: str) -> tuple[bytes, dict]:
    folder = VECTORS / kind
    return (folder / f"{name}.rdd").read_bytes(), json.loads((folder / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", VALID)
def test_valid_vector(name: str) -> None:
    data, expected = vector("valid", name)
    dataset = rducodec.read(data)
    stored = dataset.stored_samples()
    exact = stored if stored.dtype.kind == "f" else stored.astype("<i4")
    assert list(stored.shape) == expected["shape"]
    assert dataset.labels.tolist() == expected["labels"]
    assert hashlib.sha256(exact.tobytes()).hexdigest() == expected["samples_sha256"]
    assert dataset.header.num_classes == expected["num_classes"]
    assert dataset.sample_digest.hex() == expected["sample_digest"]
    assert dataset.label_total == expected.get("label_total")
    if dataset.label_counts is None:
        assert dataset.soft_labels is None
    else:
        digest = hashlib.sha256(dataset.label_counts.astype("<u4").tobytes()).hexdigest()
        assert digest == expected["soft_labels_sha256"]


@pytest.mark.parametrize("name", VALID)
def test_plain_coder_reads_the_same(name: str) -> None:
    dataset = rducodec.read(vector("valid", name)[0])
    if isinstance(dataset.config, rducodec.RawConfig):
        samples = dataset.stored_samples()
        with patch("rducodec.pixels.RangeDecoder", PlainDecoder):
            assert np.array_equal(dataset.stored_samples(), samples)
        return
    for ours, plain in zip(dataset.latent_slices(), dataset.latent_slices(decoder=PlainDecoder), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours.latents, plain.latents, strict=True))
        assert all(np.array_equal(a.values, b.values) for a, b in zip(ours.tensors(), plain.tensors(), strict=True))


@pytest.mark.parametrize("name", INVALID)
def test_invalid_vector(name: str) -> None:
    data, expected = vector("invalid", name)
    with pytest.raises(rducodec.RddError) as caught:
        rducodec.read(data).samples()
    assert type(caught.value).__name__ == expected["error"]
    assert expected["message"] in str(caught.value)
