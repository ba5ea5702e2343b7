"""Causal contexts and the wavefront order of latents (spec, "Latent grids, contexts and order")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rducodec.model import LatentConfig

WINDOW = 9  # side of the square neighbourhood, in latents
CURRENT = WINDOW * WINDOW // 2  # row-major position of the latent being coded

# Row-major positions in the window, in the order of the network's inputs.
CONTEXT_POSITIONS: dict[int, tuple[int, ...]] = {
    8: (13, 22, 30, 31, 32, 37, 38, 39),
    16: (13, 14, *range(20, 25), *range(28, 34), 37, 38, 39),
    24: (4, *range(11, 16), *range(19, 26), *range(28, 35), *range(36, 40)),
    32: (*range(2, 6), *range(10, 17), *range(19, 27), *range(27, 36), *range(36, 40)),
}

# (dY, dX) around the co-located latent of the next coarser grid, in the order of the network's inputs.
COARSER_OFFSETS: dict[int, tuple[tuple[int, int], ...]] = {0: (), 5: ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))}


def context_offsets(context_size: int) -> tuple[tuple[int, int], ...]:
    """(dy, dx) of each context latent, in the order of the network's inputs.

    Raises KeyError for a size other than 8, 16, 24 or 32.
    """
    half = WINDOW // 2
    return tuple((p // WINDOW - half, p % WINDOW - half) for p in CONTEXT_POSITIONS[context_size])


def row_delay(context_size: int) -> int:
    """R of the wavefront: latent (y, x) is coded at step x + R * y, after all of its context."""
    return 1 + max(dx for dy, dx in context_offsets(context_size) if dy == -1)


def grid_delay(context_size: int, coarser_size: int) -> int:
    """D of the wavefront: by so many steps each grid starts after the next coarser one, 0 where it does not see it."""
    offsets = COARSER_OFFSETS[coarser_size]
    return 1 + max(dx + row_delay(context_size) * dy for dy, dx in offsets) if offsets else 0


def num_steps(config: LatentConfig) -> int:
    """Steps of the wavefront at most."""
    delay = grid_delay(config.context_size, config.coarser_size) * (config.num_scales - 1)
    return config.width + row_delay(config.context_size) * (config.height - 1) + delay


@dataclass(frozen=True)
class Wavefront:
    """The coding order of all latents of one sample, and where each finds its context.

    Latents are numbered in coding order; one more number, `num_latents`, stands for the value 0 outside a grid.
    """

    num_latents: int
    bounds: np.ndarray  # int64 (steps + 1,): batch t codes the latents bounds[t] .. bounds[t + 1] - 1
    gather: tuple[np.ndarray, ...]  # per step, int64 (context_size + coarser_size, latents): inputs of the network
    order: np.ndarray  # int64 (num_latents,): raster position (scale by scale, row by row) in coding order
    grids: np.ndarray  # int64 (num_latents,): grid of each latent, in coding order


def wavefront_of(config: LatentConfig) -> Wavefront:
    """Plan for the grids and contexts of a configuration."""
    return wavefront(config.grid_shapes(), config.context_size, config.coarser_size)


@lru_cache(maxsize=32)
def wavefront(grid_shapes: tuple[tuple[int, int], ...], context_size: int, coarser_size: int = 0) -> Wavefront:
    """Plan for grids of these shapes, finest first. Within a step: scale, then row; samples are innermost."""
    delay, later = row_delay(context_size), grid_delay(context_size, coarser_size)
    offsets = context_offsets(context_size)
    starts = np.cumsum([0, *(h * w for h, w in grid_shapes)])
    num_latents = int(starts[-1])
    steps, neighbours, grids = [], [], []
    for k, (h, w) in enumerate(grid_shapes):
        y, x = (a.reshape(-1) for a in np.indices((h, w)))
        steps.append(x + delay * y + later * (len(grid_shapes) - 1 - k))
        grids.append(np.full(h * w, k))
        seen = [(k, y + dy, x + dx) for dy, dx in offsets]
        seen += [(k + 1, (y >> 1) + dy, (x >> 1) + dx) for dy, dx in COARSER_OFFSETS[coarser_size]]
        neighbours.append(np.stack([_rasters(*place, grid_shapes, starts) for place in seen]))
    step = np.concatenate(steps)
    order = np.argsort(step, kind="stable")
    number = np.append(np.argsort(order), num_latents)  # raster position -> coding number; outside stays
    gather = number[np.concatenate(neighbours, axis=1)[:, order]]  # (context_size, num_latents)
    bounds = np.append(np.unique(step[order], return_index=True)[1], num_latents)
    cuts = tuple(np.ascontiguousarray(block) for block in np.split(gather, bounds[1:-1], axis=1))
    return Wavefront(num_latents, bounds, cuts, order, np.concatenate(grids)[order])


def _rasters(
    k: int, y: np.ndarray, x: np.ndarray, grid_shapes: tuple[tuple[int, int], ...], starts: np.ndarray
) -> np.ndarray:
    """Raster positions of places of grid k; where there is no such grid or place, the number of all latents."""
    h, w = grid_shapes[k] if k < len(grid_shapes) else (0, 0)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return np.where(inside, starts[k] + y * w + x, starts[-1])
