"""Random configurations, slices and labels for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import rducodec
from spec.make_vectors import random_slice


@st.composite
def latent_configs(draw: st.DrawFn) -> rducodec.LatentConfig:
    """Small geometries of every kind: odd sides, one pixel, many scales, every context, depth and extra input."""
    return rducodec.LatentConfig(
        channels=draw(st.integers(1, 4)),
        height=draw(st.integers(1, 12)),
        width=draw(st.integers(1, 12)),
        num_scales=draw(st.integers(1, 8)),
        context_size=draw(st.sampled_from([8, 16, 24, 32])),
        entropy_depth=draw(st.integers(0, 4)),
        synthesis_widths=tuple(draw(st.lists(st.integers(1, 9), max_size=3))),
        act_frac_bits=draw(st.integers(6, 12)),
        act_bits=draw(st.integers(6, 16)),
        sample_frac_bits=draw(st.integers(0, 16)),
        coarser_size=draw(st.sampled_from([0, 5])),
        grid_biases=draw(st.booleans()),
    )


@st.composite
def latent_slices(
    draw: st.DrawFn, config: rducodec.LatentConfig, num_samples: int | None = None
) -> rducodec.LatentSlice:
    """A slice for a configuration, with latents from nearly always 0 to the whole 16 bits."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.02, 0.5, 3.0, 40.0, 5000.0, 30000.0]))
    return random_slice(config, num_samples or draw(st.integers(1, 4)), rng, spread=spread)


@st.composite
def labels(draw: st.DrawFn) -> rducodec.Labels:
    """Counts of a few classes, some empty, with or without an order and soft labels."""
    counts = np.array(draw(st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any)))
    soft = draw(soft_labels(int(counts.sum()), len(counts))) if len(counts) > 1 and draw(st.booleans()) else None
    if draw(st.booleans()):
        return rducodec.Labels(counts, None, soft)
    order = np.array(draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())))
    return rducodec.Labels(counts, order, soft)


@st.composite
def soft_labels(draw: st.DrawFn, num_samples: int, num_classes: int) -> rducodec.SoftLabels:
    """Soft labels from one-hot to flat, of sums from 1 to the largest."""
    total = draw(st.sampled_from([1, 2, 9, 231, 256, 65535, 1 << 24]) | st.integers(1, 1 << 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = rng.dirichlet([draw(st.sampled_from([0.02, 0.3, 1.0, 20.0]))] * num_classes, num_samples)
    return rducodec.SoftLabels(total, rng.multinomial(total, probabilities).astype(np.int32))


def raw_configs() -> st.SearchStrategy[rducodec.RawConfig]:
    """Every number type that the raw profile keeps."""
    number_types = [(False, bits) for bits in range(1, 17)] + [(True, 16), (True, 32)]
    levels = [rducodec.LevelConfig(True, bits, index_bits=k) for bits in (16, 32) for k in (1, 2, 5, 8)]
    return st.sampled_from([*(rducodec.RawConfig(is_float, bits) for is_float, bits in number_types), *levels])


@st.composite
def raw_samples(draw: st.DrawFn, num_samples: int, config: rducodec.RawConfig) -> np.ndarray:
    """Samples of a number type, in the array type in which a reader gives them back: noise, or smooth."""
    shape = (num_samples, *draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    is_table = isinstance(config, rducodec.LevelConfig)
    if config.is_float and not is_table:
        return rng.normal(size=shape).astype(f"f{config.bits // 8}")
    bits = config.index_bits if isinstance(config, rducodec.LevelConfig) else config.bits
    spread = draw(st.sampled_from([None, 0.0, 0.1, 1.0, 30.0]))
    if spread is None:
        numbers = rng.integers(0, 1 << bits, shape)
    else:
        walk = (rng.normal(size=shape) * spread).cumsum(axis=3).cumsum(axis=2) + draw(st.integers(0, (1 << bits) - 1))
        numbers = np.clip(np.rint(walk), 0, (1 << bits) - 1).astype(np.int64)
    if is_table:
        return np.sort(rng.normal(size=1 << bits).astype(f"f{config.bits // 8}"))[numbers]
    return numbers.astype(np.uint16 if bits > 8 else np.uint8)
