"""The integer entropy network against integer arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec.entropy.network import stack_networks
from spec.make_vectors import random_slice, tiny_config
from tests.strategies import latent_configs


def expected_prediction(tensors, values, config, grid):
    """Section 11.3 in Python integers, for one context of a latent of a grid."""
    act_max = (1 << config.act_bits) - 1

    def clamp(value, low, high):
        return max(low, min(high, value))

    def round_shift(value, shift):
        return (value + ((1 << shift) >> 1)) >> shift

    x = [clamp(int(z) << config.act_frac_bits, -act_max, act_max) for z in values]
    for index in range(0, len(tensors), 2):
        weight, bias = tensors[index], tensors[index + 1]
        is_last = index + 2 == len(tensors)
        e = weight.frac_bits
        shift = config.act_frac_bits + e - bias.frac_bits
        biases = bias.values[2 * grid :][:2] if is_last and config.grid_biases else bias.values
        acc = [
            sum(int(q) * v for q, v in zip(row, x, strict=True)) + (int(g) << shift)
            for row, g in zip(weight.values, biases, strict=True)
        ]
        if not is_last:
            x = [clamp(round_shift(a + (x[o] << e), e), 0, act_max) for o, a in enumerate(acc)]
    mean = clamp(round_shift(acc[0], config.act_frac_bits + e - 5), -32768 * 32 - 16, 32767 * 32 + 15)
    scale = clamp(round_shift(acc[1], config.act_frac_bits + e - 4) + 10, 0, 154)
    return (mean + 16) >> 5, 32 * scale + ((mean + 16) & 31)


@settings(max_examples=40, deadline=None)
@given(latent_configs(), st.integers(0, 2**32 - 1), st.booleans())
def test_prediction(config: rducodec.LatentConfig, seed: int, float64: bool) -> None:
    rng = np.random.default_rng(seed)
    parts = [random_slice(config, 1, rng) for _ in range(2)]
    networks = stack_networks([part.entropy for part in parts], config, float64=float64)
    inputs = config.context_size + config.coarser_size
    contexts = np.rint(rng.laplace(scale=30, size=(2, inputs, 5))).astype(np.int32)
    grids = rng.integers(0, config.num_scales, 5)
    prediction = networks.predict(networks.context_values(contexts), grids)
    for number, part in enumerate(parts):
        for column in range(5):
            wanted = expected_prediction(part.entropy, contexts[number, :, column], config, grids[column])
            assert (prediction.centre[number, column], prediction.row[number, column]) == wanted


def test_float32_only_where_it_is_exact() -> None:
    part = random_slice(tiny_config(), 1, np.random.default_rng(0))
    assert stack_networks([part.entropy], tiny_config()).dtype == np.float32
    assert stack_networks([part.entropy], tiny_config(act_bits=20)).dtype == np.float64


def test_accumulator_outside_of_32_bits_is_refused() -> None:
    config = tiny_config(act_bits=20)
    part = random_slice(config, 1, np.random.default_rng(0))
    huge = rducodec.QuantizedTensor(np.full((8, 8), 300, np.int32), 7)
    with pytest.raises(rducodec.RddFormatError, match="accumulator"):
        stack_networks([(huge, *part.entropy[1:])], config)
