"""The fit of an entropy network to integer latents: fewer bits by the exact count, the same on every run."""

from __future__ import annotations

import numpy as np
import torch

from rducodec.entropy.known import KnownLatents
from rducodec.model import LatentConfig
from rducodec.quantization.entropy_steps import quantized_entropy
from rducodec.quantization.slices import FloatSlice
from rducodec.training.entropy_fit import fit_entropy, fitting_threads
from rducodec.training.parameters import initial_entropy
from rducodec.training.randomness import generator_for

CONFIG = LatentConfig(1, 16, 16, num_scales=2, context_size=8, entropy_depth=1, synthesis_widths=())


def latents(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Rows that repeat the latent on the left with noise: a context tells much."""
    rng = np.random.default_rng(seed)
    return tuple(
        np.rint(np.cumsum(rng.laplace(0, 0.7, (count, h, w)), axis=2)).astype(np.int16) for h, w in CONFIG.grid_shapes()
    )


def bits(grids: tuple[np.ndarray, ...], network: tuple[np.ndarray, ...]) -> float:
    quantized = quantized_entropy(FloatSlice(grids, network, np.zeros((8, 8)), ()), CONFIG)
    return KnownLatents.of(grids, CONFIG).information(quantized)


def test_a_fit_needs_fewer_bits_than_its_start_and_than_no_context() -> None:
    grids = latents(6)
    start = tuple(t[0].double().numpy() for t in initial_entropy(CONFIG, generator_for(0, "test")))
    fitted = fit_entropy(grids, CONFIG, steps=150)
    values, counts = np.unique(np.concatenate([grid.ravel() for grid in grids]), return_counts=True)
    without_context = float(-(counts * np.log2(counts / counts.sum())).sum())
    assert len(values) > 5
    assert bits(grids, fitted) < 0.8 * min(bits(grids, start), without_context)


def test_a_warm_start_is_kept_where_it_is_good() -> None:
    grids = latents(6)
    fitted = fit_entropy(grids, CONFIG, steps=150)
    again = fit_entropy(grids, CONFIG, steps=20, start=fitted, learning_rate=1e-3)
    assert bits(grids, again) < 1.02 * bits(grids, fitted)


def test_the_same_on_every_run_with_batches_too() -> None:
    large = tuple(np.tile(grid, (20, 1, 1)) for grid in latents(6))  # more than a batch
    first, second = (fit_entropy(large, CONFIG, steps=3) for _ in range(2))
    other = fit_entropy(large, CONFIG, steps=3, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_steps_are_told() -> None:
    told: list[float] = []
    fit_entropy(latents(1), CONFIG, steps=4, told=told.append)
    assert told == [1, 1, 1, 1]


def test_threads_leave_the_settings_of_torch_alone() -> None:
    before = torch.get_num_threads()
    tiny = 2.0**-130  # below the normal numbers of float32
    with fitting_threads(2) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == before
    assert float(torch.full((1,), tiny) * 2) == 2 * tiny
