"""Tables of levels, and levels that are learned."""

from __future__ import annotations

import numpy as np
import pytest

import rducodec
from rducodec.encoder import encode_raw_source
from rducodec.errors import RddInputError
from rducodec.interop import make_source
from rducodec.levels import learn_levels, nearest_levels, quantize_levels
from spec.make_vectors import counts


def config(index_bits: int, groups: int = 1, bits: int = 16) -> rducodec.LevelConfig:
    return rducodec.LevelConfig(True, bits, index_bits=index_bits, groups=groups)


def test_few_values_are_their_own_levels() -> None:
    values = np.array([3.0, -1.0, 3.0, 0.5])
    assert learn_levels(values, 4).tolist() == [-1.0, 0.5, 3.0]


def test_levels_are_means_of_what_is_nearest() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    levels = learn_levels(values, 4)
    assert np.allclose(levels, [-1.51, -0.453, 0.453, 1.51], atol=0.12)  # Lloyd and Max for a normal distribution
    nearest = np.abs(values[:, None] - levels).argmin(axis=1)
    assert np.allclose(levels, [values[nearest == k].mean() for k in range(4)])


def test_nearest_levels() -> None:
    levels = np.array([-1.0, 0.0, 4.0])
    values = np.array([-9.0, -0.6, -0.4, 1.9, 2.1, 99.0])
    assert nearest_levels(values, levels).tolist() == [-1.0, -1.0, 0.0, 0.0, 4.0, 4.0]


def test_channels_have_levels_of_their_own() -> None:
    samples = np.random.default_rng(1).normal(size=(6, 2, 5, 5)).astype(np.float32) * np.array([1, 50])[:, None, None]
    own, shared = (quantize_levels(samples, config(2, groups)) for groups in (2, 1))
    assert [len(np.unique(own[:, c])) for c in range(2)] == [4, 4]
    assert len(np.unique(shared)) <= 4
    assert np.square(own - samples).mean() < np.square(shared - samples).mean()


def test_a_pool_of_floats_of_few_values_is_kept_exactly() -> None:
    samples = np.array([0.1, -2.5, 7.0], np.float32)[np.random.default_rng(2).integers(0, 3, (5, 1, 4, 4))]
    data = rducodec.pack_raw(samples, counts(2, 3), config(2, bits=32))
    dataset = rducodec.read(data)
    assert np.array_equal(dataset.samples(), samples)
    assert dataset.samples().dtype == np.float32
    assert dataset.config == config(2, bits=32)


def test_negative_zeros_become_zeros() -> None:
    samples = np.array([-0.0, 0.0, 1.0, -0.0], np.float16).reshape(1, 1, 2, 2)
    stored = rducodec.read(rducodec.pack_raw(samples, counts(1), config(1))).stored_samples()
    assert not np.signbit(stored).any()
    assert np.array_equal(stored, samples)


def test_more_values_than_numbers_are_refused() -> None:
    samples = np.arange(4, dtype=np.float16).reshape(1, 1, 2, 2)
    with pytest.raises(RddInputError, match="4 different values"):
        rducodec.pack_raw(samples, counts(1), config(1))


def test_many_values_of_float16_stay_few() -> None:
    values = np.random.default_rng(4).integers(0, 256, (64, 1, 32, 32))
    samples = ((values - 120) / 63).astype(np.float16)
    rounded = quantize_levels(samples, config(8))
    assert np.array_equal(rounded, samples)
    dataset = rducodec.read(rducodec.pack_raw(samples, counts(64), config(8)))
    assert np.array_equal(dataset.stored_samples(), samples)


def test_levels_beyond_float16_are_refused() -> None:
    with pytest.raises(RddInputError, match="float16"):
        quantize_levels(np.array([1e6, 2e6, 3e6]).reshape(1, 1, 1, 3), config(1))


def test_quantised_source_has_levels_of_each_class() -> None:
    rng = np.random.default_rng(3)
    samples = (rng.normal(size=(8, 3, 6, 6)) + np.repeat([0, 100], 4)[:, None, None, None]).astype(np.float32)
    source = make_source(samples, np.repeat([0, 1], 4), space=rducodec.ValueSpace())
    errors = []
    for bits in (1, 2, 4):
        dataset = rducodec.read(encode_raw_source(source, bits=bits))
        assert isinstance(dataset.config, rducodec.LevelConfig)
        assert dataset.config.index_bits == bits
        errors.append(float(np.square(dataset.samples() - samples).mean()))
    # Lloyd and Max for a normal distribution: 0.363, 0.117, 0.0095.
    assert errors == pytest.approx([0.363, 0.117, 0.0095], rel=0.35)
