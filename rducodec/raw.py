"""Samples of the raw profile to bytes and back, losslessly (spec, "Raw slices")."""

from __future__ import annotations

from itertools import product

import numpy as np

from rducodec.bitstream import zstd
from rducodec.bitstream.header import RawConfig
from rducodec.errors import RddFormatError

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


def encode_raw(samples: np.ndarray, config: RawConfig) -> bytes:
    """Method byte and data of one slice (n, channels, height, width): the smallest of all methods."""
    patterns = patterns_of(samples, config)
    candidates = []
    for predictor, layout in product(range(3), range(2)):
        if layout == LAYOUT_BITS and config.bits % 8 == 0:
            continue  # no smaller than byte planes
        plain = _lay_out(_residuals(patterns, predictor, config.bits), layout, config.bits)
        method = predictor + LAYOUT_WEIGHT * layout
        candidates += [bytes([method]) + plain, bytes([method + CODING_WEIGHT * CODING_ZSTD]) + zstd.compress(plain)]
    return min(candidates, key=len)


def decode_raw(data: bytes | memoryview, shape: tuple[int, ...], config: RawConfig) -> np.ndarray:
    """Samples of a slice of this shape. Raises RddFormatError, also for floats that are not finite."""
    method = data[0] if len(data) else -1
    predictor, layout, coding = method % 4, method // LAYOUT_WEIGHT % 2, method // CODING_WEIGHT
    if method < 0 or predictor > PREDICTOR_ABOVE or coding > CODING_ZSTD:
        raise RddFormatError(f"raw slice: unknown method {method}")
    count = int(np.prod(shape, dtype=object))
    size = _layout_bytes(count, layout, config.bits)
    if coding == CODING_ZSTD:
        plain = zstd.decompress(data[1:], size, "raw slice")
    else:
        plain = bytes(data[1:])
        if len(plain) != size:
            raise RddFormatError(f"raw slice: {len(plain)} bytes stored, expected {size}")
    residuals = _read_layout(plain, count, layout, config.bits)
    limit = (1 << config.bits) - 1
    if int(residuals.max(initial=0)) > limit:
        raise RddFormatError(f"raw slice: value {residuals.max()}, allowed 0..{limit}")
    samples = samples_of(_undo_residuals(residuals.reshape(shape), predictor, config.bits), config)
    if config.is_float and not np.isfinite(samples).all():
        raise RddFormatError("raw slice: a sample is not finite")
    return samples
