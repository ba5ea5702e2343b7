"""The torch side: the same integers as numpy, and a Dataset."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import rducodec
from spec.make_vectors import counts, latent_file, tiny_config
from tests.test_vectors import VALID, vector

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def packed() -> bytes:
    config = tiny_config(channels=3, height=11, width=9, num_scales=4, synthesis_widths=(33, 7))
    return latent_file(config, [5, 4, 3], counts(9, 3), 11, spread=4.0)


def devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", devices())
def test_samples_are_those_of_numpy(packed: bytes, device: str) -> None:
    from rducodec.torch import on_device

    dataset = rducodec.read(packed)
    assert np.array_equal(dataset.stored_samples(xp_array=on_device(device)), dataset.stored_samples())


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("name", VALID)
def test_every_vector_decodes_on_a_device(name: str, device: str) -> None:
    from rducodec.torch import on_device

    data, expected = vector("valid", name)
    stored = rducodec.read(data).stored_samples(xp_array=on_device(device))
    exact = stored if stored.dtype.kind == "f" else stored.astype("<i4")
    assert hashlib.sha256(exact.tobytes()).hexdigest() == expected["samples_sha256"]


def test_samples_do_not_depend_on_settings_of_torch(packed: bytes) -> None:
    from rducodec.torch import on_device

    dataset = rducodec.read(packed)
    expected = dataset.stored_samples()
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        torch.set_default_dtype(torch.float16)
        torch.set_float32_matmul_precision("medium")
        torch.set_flush_denormal(True)
        assert np.array_equal(dataset.stored_samples(xp_array=on_device("cpu")), expected)
        assert np.array_equal(dataset.stored_samples(), expected)
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.set_flush_denormal(False)


def test_dataset(packed: bytes) -> None:
    from rducodec.torch import RddDataset

    dataset = RddDataset(packed)
    sample, label = dataset[10]
    assert len(dataset) == 12
    assert sample.shape == (3, 11, 9)
    assert sample.dtype == torch.float32
    assert label == 1
    assert np.array_equal(dataset.samples.numpy(), rducodec.read(packed).samples())
