"""Entropy networks chosen anew: shared between slices that are alike, apart where they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rducodec.effort import Effort
from rducodec.entropy.known import KnownLatents
from rducodec.model import LatentConfig, LatentSlice
from rducodec.quantization.sharing import Candidates, Choice, existing_choice
from rducodec.training.entropy_fit import fitting_threads
from rducodec.training.refit import Refit, _adapted
from rducodec.weights import best_codes, information_bits
from spec.make_vectors import random_slice
from spec.vectors_sharing import shared_slices

CONFIG = LatentConfig(1, 16, 16, num_scales=2, context_size=8, entropy_depth=0, synthesis_widths=())
EFFORT = Effort(60, own=True, contexts=(8, 16), depths=(0, 1), sweeps=1)


def walks(seed: int, axis: int, count: int = 4) -> tuple[np.ndarray, ...]:
    """Latents that follow those before them along an axis."""
    rng = np.random.default_rng(seed)
    return tuple(
        np.rint(np.cumsum(rng.laplace(0, 0.7, (count, h, w)), axis=axis)).astype(np.int16)
        for h, w in CONFIG.grid_shapes()
    )


def slices_of(*latents: tuple[np.ndarray, ...]) -> list[LatentSlice]:
    parts = shared_slices(CONFIG, [len(grids[0]) for grids in latents], range(len(latents)), range(len(latents)), 5)
    return [replace(part, latents=grids) for part, grids in zip(parts, latents, strict=True)]


def recounted(choice: Choice, slices: list[LatentSlice]) -> float:
    total = 0.0
    for part, network in zip(slices, choice.networks, strict=True):
        total += KnownLatents.of(part.latents, choice.config).information(network)
    for network in {id(network): network for network in choice.networks}.values():
        total += float(information_bits(network, best_codes(network)).sum())
    return total


def test_slices_share_with_their_like_alone() -> None:
    slices = slices_of(walks(1, 2), walks(2, 1), walks(3, 2), walks(4, 1))
    told: list[tuple[float, float]] = []
    choice = Refit(slices, CONFIG, EFFORT, "cpu", lambda share, bits: told.append((share, bits))).run()
    names = [id(network) for network in choice.networks]
    assert choice.bits == pytest.approx(recounted(choice, slices))
    assert choice.bits < 0.8 * existing_choice(slices, CONFIG).bits
    assert len(set(names)) <= 2
    assert sum(share for share, _ in told) == pytest.approx(1, abs=0.3)
    assert told[-1][1] == choice.bits


def scaled_by_the_coarser_grid(seed: int, count: int = 6) -> tuple[np.ndarray, ...]:
    """Latents that are large where those of the coarser grid are, which are random."""
    rng = np.random.default_rng(seed)
    (h, w), (coarse_h, coarse_w) = CONFIG.grid_shapes()
    coarse = rng.integers(0, 2, (count, coarse_h, coarse_w)) * 6
    size = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, :h, :w]
    return tuple(grid.astype(np.int16) for grid in (np.rint(rng.laplace(0, 0.1 + size, (count, h, w))), coarse))


def of_two_scales(seed: int, count: int = 6) -> tuple[np.ndarray, ...]:
    """Noise that is large in one grid and small in the other."""
    rng = np.random.default_rng(seed)
    shapes = CONFIG.grid_shapes()
    return tuple(
        np.rint(rng.laplace(0, b, (count, *shape))).astype(np.int16) for b, shape in zip((0.3, 40), shapes, strict=True)
    )


@pytest.mark.parametrize(("latents", "depth"), [(scaled_by_the_coarser_grid, 1), (of_two_scales, 0)])
def test_extras_are_chosen_where_they_tell(latents: Callable[[int], tuple[np.ndarray, ...]], depth: int) -> None:
    slices = slices_of(latents(1))
    effort = Effort(200, own=False, contexts=(8,), depths=(depth,), finalists=1)
    plain = Refit(slices, CONFIG, effort, "cpu", lambda *_: None).run()
    told: list[float] = []
    effort = replace(effort, extras=((0, True), (5, True)))
    choice = Refit(slices, CONFIG, effort, "cpu", lambda share, _: told.append(share)).run()
    assert choice.bits < 0.97 * plain.bits
    assert choice.bits == pytest.approx(recounted(choice, slices))
    assert choice.config.grid_biases
    assert choice.config.coarser_size == (5 if latents is scaled_by_the_coarser_grid else 0)
    assert sum(told) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("depth", [0, 2])
def test_a_network_with_more_inputs_begins_as_one_without(depth: int) -> None:
    config = replace(CONFIG, entropy_depth=depth)
    wide = replace(config, coarser_size=5, grid_biases=True)
    rng = np.random.default_rng(1)
    fit = tuple(rng.normal(size=shape) for shape in config.entropy_shapes())
    adapted = _adapted(fit, wide)
    assert tuple(tensor.shape for tensor in adapted) == wide.entropy_shapes()
    assert not adapted[0][:, 8:].any()
    assert all(np.array_equal(a, b) for a, b in zip(fit, _adapted(adapted, config), strict=True))


def test_a_trained_network_is_fitted_further() -> None:
    """So few steps lead nowhere from random numbers."""
    slices = slices_of(walks(1, 2), walks(2, 1))
    trained = Refit(slices, CONFIG, Effort(300, own=True), "cpu", lambda *_: None).run()
    slices = [replace(part, entropy=network) for part, network in zip(slices, trained.networks, strict=True)]
    further = Refit(slices, CONFIG, Effort(15, own=True), "cpu", lambda *_: None)
    candidates = Candidates([part.latents for part in slices], CONFIG)
    with fitting_threads(1) as pool:
        further._add_trained(pool, candidates)
    random = Refit(slices, CONFIG, Effort(30, own=False), "cpu", lambda *_: None)._fit(
        slices[0].latents, CONFIG, 30, None
    )
    assert candidates.choice().bits < 1.02 * trained.bits
    candidates = Candidates([slices[0].latents], CONFIG)
    network = further._quantized(slices[0].latents, CONFIG, random)
    assert network is not None
    candidates.add(network)
    assert candidates.choice().bits > 1.05 * existing_choice(slices[:1], CONFIG).bits


def test_trained_networks_get_extras_that_no_finalist_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refit, "_finalists", lambda *_: {})
    slices = slices_of(scaled_by_the_coarser_grid(1), scaled_by_the_coarser_grid(2))
    for number, effort in enumerate((Effort(60, own=True), Effort(60, own=True, extras=((0, True), (5, True))))):
        choice = Refit(slices, CONFIG, effort, "cpu", lambda *_: None).run()
        assert choice.config.coarser_size == (0, 5)[number]
        assert choice.bits < existing_choice(slices, CONFIG).bits


def test_never_worse_than_what_is_there() -> None:
    slices = [random_slice(CONFIG, 2, np.random.default_rng(1), spread=0.1)]
    existing = existing_choice(slices, CONFIG)
    choice = Refit(slices, CONFIG, Effort(1, own=False), "cpu", lambda *_: None).run()
    assert choice.bits <= existing.bits


def test_the_same_on_every_run() -> None:
    slices = slices_of(walks(1, 2), walks(2, 1))
    first, second = (Refit(slices, CONFIG, EFFORT, "cpu", lambda *_: None).run() for _ in range(2))
    assert first.config == second.config
    assert first.bits == second.bits
