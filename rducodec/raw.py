"""Samples of the raw profile to bytes and back, losslessly (spec, "Raw slices")."""

from __future__ import annotations

from itertools import product

import numpy as np

from rducodec.bitstream import zstd
from rducodec.bitstream.header import LevelConfig, RawConfig
from rducodec.errors import RddFormatError
from rducodec.levels import after_levels, join_levels, read_levels, split_levels
from rducodec.pixels import METHOD_FEW, METHOD_WIDE, decode_numbers, encode_numbers, work_of

PREDICTOR_NONE, PREDICTOR_LEFT, PREDICTOR_ABOVE = range(3)
LAYOUT_PLANES, LAYOUT_BITS = range(2)  # byte planes, least significant first; packed bits
CODING_STORED, CODING_ZSTD = range(2)
# The method byte of a section: predictor + 4 * layout + 8 * coding.
LAYOUT_WEIGHT, CODING_WEIGHT = 4, 8
_AXES = {PREDICTOR_LEFT: -1, PREDICTOR_ABOVE: -2}


def _pattern_dtype(bits: int) -> np.dtype:
    return np.dtype("<u4" if bits > 16 else "<u2" if bits > 8 else "u1")


def patterns_of(samples: np.ndarray, config: RawConfig) -> np.ndarray:
    """Samples as unsigned integers of `config.bits` bits: themselves, or the bit patterns of floats."""
    if config.is_float:
        return np.ascontiguousarray(samples).view(_pattern_dtype(config.bits))
    return samples.astype(_pattern_dtype(config.bits))


def samples_of(patterns: np.ndarray, config: RawConfig) -> np.ndarray:
    """Inverse of `patterns_of`: uint8, uint16, float16 or float32."""
    if config.is_float:
        return patterns.view(np.dtype(f"<f{config.bits // 8}"))
    return patterns


def _residuals(patterns: np.ndarray, predictor: int, bits: int) -> np.ndarray:
    """Differences modulo 2**bits to the neighbour on the left or above."""
    if predictor == PREDICTOR_NONE:
        return patterns
    difference = np.diff(patterns, axis=_AXES[predictor], prepend=patterns.dtype.type(0))
    return difference & patterns.dtype.type((1 << bits) - 1)


def _undo_residuals(residuals: np.ndarray, predictor: int, bits: int) -> np.ndarray:
    if predictor == PREDICTOR_NONE:
        return residuals
    sums = np.cumsum(residuals, axis=_AXES[predictor], dtype=residuals.dtype)
    return sums & residuals.dtype.type((1 << bits) - 1)


def _lay_out(numbers: np.ndarray, layout: int, bits: int) -> bytes:
    flat = numbers.reshape(-1)
    if layout == LAYOUT_PLANES:
        return flat.view(np.uint8).reshape(len(flat), -1).T.tobytes()
    places = np.arange(bits - 1, -1, -1, dtype=flat.dtype)
    return np.packbits(((flat[:, None] >> places) & 1).astype(np.uint8)).tobytes()


def _read_layout(data: bytes, count: int, layout: int, bits: int) -> np.ndarray:
    dtype = _pattern_dtype(bits)
    if layout == LAYOUT_PLANES:
        planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, count)
        return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)
    unpacked = np.unpackbits(np.frombuffer(data, np.uint8))
    if unpacked[count * bits :].any():
        raise RddFormatError("raw slice: padding bits are not 0")
    digits = unpacked[: count * bits].reshape(count, bits).astype(dtype)
    places = np.arange(bits - 1, -1, -1, dtype=dtype)
    return np.bitwise_or.reduce(digits << places, axis=1).astype(dtype)


def _layout_bytes(count: int, layout: int, bits: int) -> int:
    return count * _pattern_dtype(bits).itemsize if layout == LAYOUT_PLANES else -(-count * bits // 8)


def _encode_numbers(numbers: np.ndarray, bits: int, *, coded: bool) -> bytes:
    """Method byte and data: the smallest of all methods; `coded` ones are for integers, not for patterns of floats."""
    candidates = []
    for predictor, layout in product(range(3), range(2)):
        if layout == LAYOUT_BITS and bits % 8 == 0:
            continue  # no smaller than byte planes
        plain = _lay_out(_residuals(numbers, predictor, bits), layout, bits)
        method = predictor + LAYOUT_WEIGHT * layout
        candidates += [bytes([method]) + plain, bytes([method + CODING_WEIGHT * CODING_ZSTD]) + zstd.compress(plain)]
    if coded:
        candidates += [bytes([method]) + payload for method, payload in encode_numbers(numbers, bits)]
    return min(candidates, key=len)


def _decode_numbers(data: bytes | memoryview, shape: tuple[int, ...], bits: int, *, coded: bool) -> np.ndarray:
    """Inverse of `_encode_numbers`."""
    method = data[0] if len(data) else -1
    if coded and method in (METHOD_WIDE, METHOD_FEW):
        return decode_numbers(method, data[1:], shape, bits).astype(_pattern_dtype(bits))
    predictor, layout, coding = method % 4, method // LAYOUT_WEIGHT % 2, method // CODING_WEIGHT
    if method < 0 or predictor > PREDICTOR_ABOVE or coding > CODING_ZSTD:
        raise RddFormatError(f"raw slice: unknown method {method}")
    count = int(np.prod(shape, dtype=object))
    size = _layout_bytes(count, layout, bits)
    if coding == CODING_ZSTD:
        plain = zstd.decompress(data[1:], size, "raw slice")
    else:
        plain = bytes(data[1:])
        if len(plain) != size:
            raise RddFormatError(f"raw slice: {len(plain)} bytes stored, expected {size}")
    residuals = _read_layout(plain, count, layout, bits)
    limit = (1 << bits) - 1
    if int(residuals.max(initial=0)) > limit:
        raise RddFormatError(f"raw slice: value {residuals.max()}, allowed 0..{limit}")
    return _undo_residuals(residuals.reshape(shape), predictor, bits)


def coded_work(data: bytes | memoryview, shape: tuple[int, ...], config: RawConfig) -> int:
    """What decoding a slice takes, in multiplications, if its numbers are coded; 0 if they are not."""
    if not isinstance(config, LevelConfig):
        method, coded = data[:1], not config.is_float
    else:
        method, coded = after_levels(data, config)[:1], True
    return work_of(shape) if coded and len(method) and method[0] in (METHOD_WIDE, METHOD_FEW) else 0


def encode_raw(samples: np.ndarray, config: RawConfig) -> bytes:
    """Data of one slice (n, channels, height, width). RddInputError for more values than `config` has levels."""
    if isinstance(config, LevelConfig):
        table, numbers = split_levels(samples, config)
        return table + _encode_numbers(numbers, config.index_bits, coded=True)
    return _encode_numbers(patterns_of(samples, config), config.bits, coded=not config.is_float)


def decode_raw(data: bytes | memoryview, shape: tuple[int, ...], config: RawConfig) -> np.ndarray:
    """Samples of a slice of this shape. Raises RddFormatError, also for floats that are not finite."""
    if isinstance(config, LevelConfig):
        tables, rest = read_levels(data, config)
        return join_levels(tables, _decode_numbers(rest, shape, config.index_bits, coded=True))
    numbers = _decode_numbers(data, shape, config.bits, coded=not config.is_float)
    samples = samples_of(numbers, config)
    if config.is_float and not np.isfinite(samples).all():
        raise RddFormatError("raw slice: a sample is not finite")
    return samples
