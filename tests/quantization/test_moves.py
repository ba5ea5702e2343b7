from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import rducodec
from rducodec.entropy.context import wavefront_of
from rducodec.entropy.known import KnownLatents
from rducodec.quantization import FloatSlice, quantize, squared_error
from rducodec.quantization.moves import LatentMoves, _masks
from rducodec.quantization.render import render
from spec.vector_tools import random_slice

CONFIG = rducodec.LatentConfig(1, 16, 16, num_scales=3, context_size=16, entropy_depth=1, synthesis_widths=(6,))
WIDER = replace(CONFIG, coarser_size=5, grid_biases=True)


def part_of(seed: int = 4, config: rducodec.LatentConfig = CONFIG) -> rducodec.LatentSlice:
    """Latents that cost more than they need to: the network expects others."""
    return random_slice(config, 4, np.random.default_rng(seed), spread=2.0)


def search(part: rducodec.LatentSlice, config: rducodec.LatentConfig = CONFIG) -> LatentMoves:
    networks = [tensor.dequantize() for tensor in (part.upsampling, *part.synthesis)]
    return LatentMoves(part.latents, part.entropy, networks, config, render(part.latents, networks, config))


def real(part: rducodec.LatentSlice) -> FloatSlice:
    return FloatSlice(
        part.latents,
        tuple(tensor.dequantize() for tensor in part.entropy),
        part.upsampling.dequantize(),
        tuple(tensor.dequantize() for tensor in part.synthesis),
    )


@pytest.mark.parametrize("config", [CONFIG, WIDER])
@pytest.mark.parametrize("max_mse", [1e-4, 1e-2, 10.0])
def test_a_path_saves_more_and_more_within_the_limit(max_mse: float, config: rducodec.LatentConfig) -> None:
    part = part_of(config=config)
    states = list(search(part, config).path(max_mse))
    assert all(np.array_equal(a, b) for a, b in zip(states[0].latents, part.latents, strict=True))
    assert states[0].error == 0
    assert all(a.bits > b.bits for a, b in pairwise(states))
    assert all(state.error <= max_mse for state in states)
    for state in states:
        bits = KnownLatents.of(state.latents, config).information(part.entropy)
        assert state.bits == pytest.approx(bits, rel=1e-9)
    if max_mse == 1e-2 and config is CONFIG:
        assert states[-1].error > 0.5 * max_mse
        assert states[-1].bits < states[0].bits - 10


def test_no_price_no_move() -> None:
    assert len(list(search(part_of()).path(1e-2, 0.0))) == 1


@pytest.mark.parametrize("coarser_size", [0, 5])
@pytest.mark.parametrize("context_size", [8, 16, 24, 32])
def test_latents_of_a_mask_have_no_context_in_common(context_size: int, coarser_size: int) -> None:
    config = rducodec.LatentConfig(
        1, 13, 22, num_scales=4, context_size=context_size, coarser_size=coarser_size, grid_biases=coarser_size > 0
    )
    masks, plan = _masks(config), wavefront_of(config)
    assert (np.sum(masks, axis=0) == 1).all()
    contexts = np.concatenate(plan.gather, axis=1)
    for mask in masks:
        marked = np.append(mask[plan.order], False)
        assert (marked[:-1] + marked[contexts].sum(0)).max() == 1


@pytest.mark.parametrize("config", [CONFIG, WIDER])
def test_what_single_moves_save_adds_up(config: rducodec.LatentConfig) -> None:
    part = part_of(config=config)
    own, values = search(part, config), search(part, config)._start
    bits, centre = own._costs(values)
    for mask in own._masks[::5]:
        after, _ = own._costs(values + np.sign(centre - values) * mask[:, None])
        assert own._saved(bits, after)[mask].sum() == pytest.approx(bits.sum() - after.sum())


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
