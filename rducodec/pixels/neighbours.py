"""Which numbers a number is predicted from, and in what order numbers are coded (spec, "Neighbours and order").

Canvases are float32 (channels, height * width + 1, samples): positions row by row, then a slot for "nowhere".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# (dy, dx): W, N, NW, NE, WW, NN, NNW, NNE, NEE, NWW.
OFFSETS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, -1), (-2, 1), (-1, 2), (-1, -2))
WEST, NORTH, NORTH_WEST, NORTH_EAST = range(4)
ROW_DELAY = 3  # the number at (y, x) is coded at step x + 3 y: the neighbour (-1, 2) is one step earlier
MAX_BEFORE = 2  # channels before this one that are looked at


@dataclass(frozen=True)
class Geometry:
    """Positions of a channel, step by step, and where each finds its neighbours."""

    num_positions: int
    steps: tuple[np.ndarray, ...]  # int64: positions of each step, by rows
    neighbours: np.ndarray  # int32 (10, positions): position of each neighbour, or `num_positions` for nowhere


@lru_cache(maxsize=4)
def geometry(height: int, width: int) -> Geometry:
    """Order and neighbours for samples of this size.

    A neighbour outside is replaced: one above by N or else W, one on the left by W or else N.
    """
    y, x = (axis.reshape(-1) for axis in np.indices((height, width)))
    nowhere = height * width
    west = np.where(x > 0, y * width + x - 1, nowhere)
    north = np.where(y > 0, (y - 1) * width + x, nowhere)
    above, left = np.where(y > 0, north, west), np.where(x > 0, west, north)
    found = []
    for dy, dx in OFFSETS:
        inside = (y + dy >= 0) & (x + dx >= 0) & (x + dx < width)
        found.append(np.where(inside, (y + dy) * width + x + dx, above if dy else left))
    step = x + ROW_DELAY * y
    order = np.argsort(step, kind="stable")
    cuts = np.unique(step[order], return_index=True)[1][1:]
    return Geometry(nowhere, tuple(np.split(order, cuts)), np.stack(found).astype(np.int32))


def batch_size(shape: tuple[int, ...]) -> int:
    """At least as many numbers as any step of a channel has, for samples (n, channels, height, width)."""
    num_samples, _, height, width = shape
    return num_samples * min(height, -(-width // ROW_DELAY))


def channels_before(channel: int) -> int:
    """How many channels before this one are looked at."""
    return min(channel, MAX_BEFORE)


def num_inputs(channel: int, reach: int) -> int:
    """Values that `gather` finds with this many neighbours."""
    return reach + channels_before(channel) * (reach + 1)


def gather(canvas: np.ndarray, channel: int, places: np.ndarray, reach: int, spare: int = 0) -> np.ndarray:
    """Values around positions: `reach` neighbours, then for each channel before the same position and its neighbours.

    float64 (inputs + spare, positions * samples), samples innermost; the spare rows are not set.
    """
    num_samples = canvas.shape[2]
    found = places[: reach + 1]
    inputs = np.empty((num_inputs(channel, reach) + spare, found.shape[1], num_samples))
    inputs[:reach] = np.take(canvas[channel], found[1:], axis=0)
    begin = reach
    for before in range(1, channels_before(channel) + 1):
        inputs[begin : begin + reach + 1] = np.take(canvas[channel - before], found, axis=0)
        begin += reach + 1
    return inputs.reshape(len(inputs), -1)


def places_of(plan: Geometry, positions: np.ndarray) -> np.ndarray:
    """(11, n): positions themselves and their neighbours, as `gather` takes them."""
    return np.concatenate([positions[None], plan.neighbours[:, positions]])
