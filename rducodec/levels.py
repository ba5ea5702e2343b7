"""Samples of few values: tables of levels, and which level each value is (spec, "Levels")."""

from __future__ import annotations

import numpy as np

from rducodec.bitstream.header import LevelConfig
from rducodec.errors import RddFormatError, RddInputError

MAX_PASSES = 200  # of Lloyd's algorithm; it ends much earlier


def _level_dtype(config: LevelConfig) -> np.dtype:
    return np.dtype(f"<f{config.bits // 8}")


def _by_group(samples: np.ndarray, config: LevelConfig) -> list[np.ndarray]:
    """Views of what shares a table of levels."""
    return [samples] if config.groups == 1 else [samples[:, channel] for channel in range(samples.shape[1])]


def split_levels(samples: np.ndarray, config: LevelConfig) -> tuple[bytes, np.ndarray]:
    """Tables of levels, and the number of each value's level, uint8.

    Raises RddInputError for more values than there are numbers.
    """
    numbers = np.empty(samples.shape, np.uint8)
    parts = []
    for values, target in zip(_by_group(samples, config), _by_group(numbers, config), strict=True):
        values = values.astype(np.float32)  # exact; numpy 2.4 does not sort every float16 array on every processor
        levels = np.unique(values)
        if len(levels) > 1 << config.index_bits:
            raise RddInputError(
                f"{len(levels)} different values, {config.index_bits} bits hold {1 << config.index_bits}"
            )
        target[...] = np.searchsorted(levels, values)
        parts.append(bytes([len(levels) - 1]) + levels.astype(_level_dtype(config)).tobytes())
    return b"".join(parts), numbers


def read_levels(data: bytes | memoryview, config: LevelConfig) -> tuple[list[np.ndarray], memoryview]:
    """Levels of each group, and the rest of the data. Raises RddFormatError."""
    rest = memoryview(data)
    dtype = _level_dtype(config)
    tables = []
    for group in range(config.groups):
        count = rest[0] + 1 if len(rest) else 0
        size = count * dtype.itemsize
        if not 0 < count <= 1 << config.index_bits or len(rest) < 1 + size:
            raise RddFormatError(f"levels {group}: {count} of them, or the slice ends before their last")
        levels = np.frombuffer(rest[1 : 1 + size], dtype).astype(dtype.newbyteorder("="))
        if not np.isfinite(levels).all() or not (np.diff(levels.astype(np.float64)) > 0).all():
            raise RddFormatError(f"levels {group}: not finite, or they do not increase")
        if (np.signbit(levels) & (levels == 0)).any():
            raise RddFormatError(f"levels {group}: a level is -0")
        tables.append(levels)
        rest = rest[1 + size :]
    return tables, rest


def after_levels(data: bytes | memoryview, config: LevelConfig) -> memoryview:
    """What follows the tables of levels, which are not looked at; empty where the data ends before."""
    rest = memoryview(data)
    for _ in range(config.groups):
        if not len(rest):
            break
        rest = rest[1 + (rest[0] + 1) * _level_dtype(config).itemsize :]
    return rest


def join_levels(tables: list[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Samples of numbers (n, channels, height, width). RddFormatError for a number that has no level."""
    samples = np.empty(numbers.shape, tables[0].dtype)
    for group, levels in enumerate(tables):
        part = slice(None) if len(tables) == 1 else slice(group, group + 1)
        if int(numbers[:, part].max(initial=0)) >= len(levels):
            raise RddFormatError(f"levels {group}: number {numbers[:, part].max()}, there are {len(levels)} levels")
        samples[:, part] = levels[numbers[:, part]]
    return samples


def learn_levels(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` increasing levels of least mean squared error (Lloyd's algorithm), float64; deterministic.

    Starts from quantiles; `values` are floats of any shape. Where there are no more different values, they are the
    levels.
    """
    ordered = np.sort(values.reshape(-1).astype(np.float64))
    distinct = ordered[np.append(True, np.diff(ordered) > 0)]
    if len(distinct) <= count:
        return distinct
    sums = np.append(0.0, np.cumsum(ordered))
    places = ((np.arange(count) + 0.5) / count * len(ordered)).astype(np.int64)
    levels = np.unique(ordered[places])
    for _ in range(MAX_PASSES):
        bounds = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], bounds, [len(ordered)]])
        sizes = np.diff(edges)
        filled = sizes > 0
        better = np.diff(sums[edges])[filled] / sizes[filled]
        if np.array_equal(better, levels):
            break
        levels = better
    return levels


def nearest_levels(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Each value replaced by the nearest of increasing levels, the lower one of two."""
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]


def quantize_levels(samples: np.ndarray, config: LevelConfig) -> np.ndarray:
    """Samples of a slice (n, channels, height, width) as floats of few values, with levels learned from them."""
    dtype = _level_dtype(config).newbyteorder("=")
    result = np.empty(samples.shape, dtype)
    for values, target in zip(_by_group(samples, config), _by_group(result, config), strict=True):
        with np.errstate(over="ignore"):
            rounded = learn_levels(values, 1 << config.index_bits).astype(dtype)
        levels = np.unique(rounded.astype(np.float64)) + 0.0  # no -0
        if not np.isfinite(levels).all():
            raise RddInputError(f"levels: a value is beyond the range of float{config.bits}")
        target[...] = nearest_levels(values.astype(np.float64), levels)
    return result
