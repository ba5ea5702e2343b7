from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import rducodec
from rducodec.entropy.context import context_offsets
from rducodec.entropy.known import KnownLatents
from rducodec.entropy.symbols import offset_information
from rducodec.quantization import FloatSlice, quantize, squared_error
from rducodec.quantization.moves import LatentMoves, _masks, _offset_bits
from rducodec.quantization.render import render
from spec.vector_tools import random_slice

CONFIG = rducodec.LatentConfig(1, 16, 16, num_scales=3, context_size=16, entropy_depth=1, synthesis_widths=(6,))


def part_of(seed: int = 4) -> rducodec.LatentSlice:
    """Latents that cost more than they need to: the network expects others."""
    return random_slice(CONFIG, 4, np.random.default_rng(seed), spread=2.0)


def search(part: rducodec.LatentSlice) -> LatentMoves:
    networks = [tensor.dequantize() for tensor in (part.upsampling, *part.synthesis)]
    return LatentMoves(part.latents, part.entropy, networks, CONFIG, render(part.latents, networks, CONFIG))


def real(part: rducodec.LatentSlice) -> FloatSlice:
    return FloatSlice(
        part.latents,
        tuple(tensor.dequantize() for tensor in part.entropy),
        part.upsampling.dequantize(),
        tuple(tensor.dequantize() for tensor in part.synthesis),
    )


@pytest.mark.parametrize("max_mse", [1e-4, 1e-2, 10.0])
def test_a_path_saves_more_and_more_within_the_limit(max_mse: float) -> None:
    part = part_of()
    states = list(search(part).path(max_mse))
    assert all(np.array_equal(a, b) for a, b in zip(states[0].latents, part.latents, strict=True))
    assert states[0].error == 0
    assert all(a.bits > b.bits for a, b in pairwise(states))
    assert all(state.error <= max_mse for state in states)
    for state in states:
        bits = KnownLatents.of(state.latents, CONFIG).information(part.entropy)
        assert state.bits == pytest.approx(bits, rel=1e-9)
    if max_mse == 1e-2:
        assert states[-1].error > 0.5 * max_mse
        assert states[-1].bits < states[0].bits - 10


def test_no_price_no_move() -> None:
    assert len(list(search(part_of()).path(1e-2, 0.0))) == 1


@pytest.mark.parametrize("context_size", [8, 16, 24, 32])
def test_latents_of_a_mask_have_no_context_in_common(context_size: int) -> None:
    config = rducodec.LatentConfig(1, 13, 22, num_scales=2, context_size=context_size)
    masks = _masks(config)
    assert (np.sum(masks, axis=0) == 1).all()
    offsets = context_offsets(context_size)
    for mask in masks:
        start = 0
        for h, w in config.grid_shapes():
            grid = np.pad(mask[start : start + h * w].reshape(h, w), 8).astype(int)
            seen = grid + sum(np.roll(grid, (-dy, -dx), axis=(0, 1)) for dy, dx in offsets)
            assert seen.max() <= 1
            start += h * w


def test_bits_of_offsets_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    offsets, rows = rng.integers(-60, 60, 500), rng.integers(0, 155 * 32, 500)
    assert _offset_bits(offsets, rows).sum() == pytest.approx(offset_information(offsets, rows))


def test_one_limit_for_moves_and_networks() -> None:
    """At a large limit moves save more than coarser networks alone; the measured error stays under it."""
    source = real(part_of())
    for max_mse in (1e-4, 3e-2):
        sizes = []
        for move in (False, True):
            (result,) = quantize([source], CONFIG, max_mse=max_mse, move_latents=move)
            assert squared_error(result, source, CONFIG) <= max_mse
            sizes.append(len(rducodec.pack_latent([result], rducodec.Labels(np.array([4])), CONFIG)))
        assert sizes[1] <= sizes[0]
    assert sizes[1] < sizes[0]


def test_entropy_networks_can_be_given() -> None:
    part = part_of()
    (result,) = quantize([real(part)], CONFIG, entropy=[part.entropy])
    assert result.entropy == part.entropy
