"""Network parameters of a slice to symbols and back (spec, "Network parameters").

Three small numbers describe each tensor: its fractional bits, the Laplace scale of its values, and how many low
bits of each value are written as they are. They are coded as differences between tensors of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rducodec.entropy import tables
from rducodec.entropy.plain_coder import Decoder, Encoder
from rducodec.entropy.symbols import MAX_OFFSET, decode_offsets, decode_raw_bits, encode_offsets, encode_raw_bits
from rducodec.errors import RddFormatError, RddInputError
from rducodec.model import LatentConfig, QuantizedTensor

MAX_FRAC_BITS = 16
MAX_RAW_BITS = 15
FIRST_FRAC_BITS = 8  # what the first tensor of a kind is compared with
FIRST_SCALE_INDEX = tables.SCALE_ORIGIN
# Scale indices under which the three numbers are coded: b = 1, b = e**2.5 and b = e**-0.75.
FRAC_BITS_CODE = tables.SCALE_ORIGIN
SCALE_INDEX_CODE = tables.SCALE_ORIGIN + 40
RAW_BITS_CODE = tables.SCALE_ORIGIN - 12
SEARCH_REACH = 8  # scale indices tried on either side of the one that the mean magnitude suggests
SMALLEST_SPREAD = 1e-2  # below the least Laplace scale
MAX_VALUE = (1 << 24) - 1  # of a quantised parameter


def _rows(scale_indices: np.ndarray) -> np.ndarray:
    """Rows of the primary table for a mean of 0."""
    return scale_indices * tables.NUM_MEANS + tables.MEAN_ORIGIN


def _code_rows(scale_index: int, count: int) -> np.ndarray:
    return _rows(np.full(count, scale_index))


def _split(values: np.ndarray, raw_bits: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """(high, low) with value = high * 2**raw_bits + low - half and 0 <= low < 2**raw_bits."""
    half = (np.int64(1) << raw_bits) >> 1
    high = (values + half) >> raw_bits
    return high, values + half - (high << raw_bits)


def code_length(values: np.ndarray, scale_index: int, raw_bits: int) -> float:
    """Bits of integers under one scale index and number of raw bits; infinite where they cannot be coded."""
    magnitudes = np.abs(_split(values.reshape(-1).astype(np.int64), raw_bits)[0])
    if magnitudes.max(initial=0) > MAX_OFFSET:
        return np.inf
    return float(offset_bits(scale_index)[magnitudes].sum()) + raw_bits * values.size


_OFFSET_BITS: dict[int, np.ndarray] = {}


def offset_bits(scale_index: int) -> np.ndarray:
    """Code length in bits of offsets of magnitude 0..65535 around a mean of 0, float64."""
    if scale_index not in _OFFSET_BITS:
        primary = tables.PRECISION - np.log2(tables.primary_table()[_rows(np.array(scale_index))].astype(float) + 1)
        tail = tables.PRECISION - np.log2(tables.tail_table()[scale_index].astype(float) + 1)
        order = int(tables.golomb_orders()[scale_index])
        far = np.arange(MAX_OFFSET + 1 - tables.OFFSET_REACH - 1 - tables.ESCAPE, dtype=np.int64) + (1 << order)
        widths = np.frexp(far.astype(float))[1] - 1
        prefix = np.minimum(widths - order + 1, tables.ALPHABET - 1)
        escape = primary[tables.ESCAPE] + 1
        _OFFSET_BITS[scale_index] = np.concatenate(
            [primary[:1], primary[1 : tables.ESCAPE : 2], escape + tail[:-1], escape + tail[-1] + prefix + widths]
        )
    return _OFFSET_BITS[scale_index]


def best_code(values: np.ndarray) -> tuple[int, int, float]:
    """(scale_index, raw_bits, bits) under which integers cost least; bits without the three numbers."""
    spread = float(np.abs(values).mean()) if values.size else 0.0
    best = (0, 0, np.inf)
    for raw_bits in range(MAX_RAW_BITS + 1):
        scaled = spread / (1 << raw_bits)
        centre = round(tables.SCALE_ORIGIN + tables.SCALES_PER_NEPER * np.log(max(scaled, SMALLEST_SPREAD)))
        centre = min(centre, tables.NUM_SCALES - 1)
        for scale_index in range(max(0, centre - SEARCH_REACH), min(tables.NUM_SCALES, centre + SEARCH_REACH + 1)):
            bits = code_length(values, scale_index, raw_bits)
            if bits < best[2]:
                best = (scale_index, raw_bits, bits)
        if scaled < 1:
            break
    return best


def _differences(numbers: np.ndarray, kinds: np.ndarray, first: int) -> np.ndarray:
    """Each number minus the last one of its kind (0 weights, 1 biases), the first minus `first`."""
    result = np.empty_like(numbers)
    for kind in (0, 1):
        of_kind = kinds == kind
        result[of_kind] = np.diff(numbers[of_kind], prepend=first)
    return result


def _sums(differences: np.ndarray, kinds: np.ndarray, first: int) -> np.ndarray:
    """Inverse of `_differences`."""
    result = np.empty_like(differences)
    for kind in (0, 1):
        of_kind = kinds == kind
        result[of_kind] = first + np.cumsum(differences[of_kind])
    return result


def _kinds(shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array([int(len(shape) == 1) for shape in shapes])


def _sizes(shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array([int(np.prod(shape)) for shape in shapes])


def encode_tensors(encoder: Encoder, tensors: Sequence[QuantizedTensor]) -> None:
    """Write the tensors of a slice in stream order. RddInputError for a value or a step out of range."""
    for index, tensor in enumerate(tensors):
        largest = int(np.abs(tensor.values.astype(np.int64)).max(initial=0))
        if largest > MAX_VALUE or not 0 <= tensor.frac_bits <= MAX_FRAC_BITS:
            raise RddInputError(
                f"network tensor {index}: values up to {largest} with {tensor.frac_bits} fractional bits, "
                f"allowed {MAX_VALUE} and 0..{MAX_FRAC_BITS}"
            )
    shapes = [tensor.values.shape for tensor in tensors]
    kinds, sizes = _kinds(shapes), _sizes(shapes)
    codes = [best_code(tensor.values) for tensor in tensors]
    frac_bits = np.array([tensor.frac_bits for tensor in tensors])
    scale_indices, raw_bits = (np.array(numbers) for numbers in zip(*((c[0], c[1]) for c in codes), strict=True))
    count = len(tensors)
    encode_offsets(encoder, _differences(frac_bits, kinds, FIRST_FRAC_BITS), _code_rows(FRAC_BITS_CODE, count))
    encode_offsets(encoder, _differences(scale_indices, kinds, FIRST_SCALE_INDEX), _code_rows(SCALE_INDEX_CODE, count))
    encode_offsets(encoder, raw_bits, _code_rows(RAW_BITS_CODE, count))
    widths = np.repeat(raw_bits, sizes)
    values = np.concatenate([tensor.values.reshape(-1) for tensor in tensors]).astype(np.int64)
    high, low = _split(values, widths)
    encode_offsets(encoder, high.astype(np.int32), _rows(np.repeat(scale_indices, sizes)))
    encode_raw_bits(encoder, low, widths)


def _check_range(name: str, numbers: np.ndarray, low: int, high: int) -> None:
    wrong = np.flatnonzero((numbers < low) | (numbers > high))
    if len(wrong):
        raise RddFormatError(f"network tensor {wrong[0]}: {name} {numbers[wrong[0]]}, allowed {low}..{high}")


def decode_tensors(decoder: Decoder, config: LatentConfig) -> tuple[QuantizedTensor, ...]:
    """Read what `encode_tensors` wrote. RddFormatError for a number out of range."""
    shapes = config.tensor_shapes()
    kinds, sizes = _kinds(shapes), _sizes(shapes)
    count = len(shapes)
    frac_bits = _sums(decode_offsets(decoder, _code_rows(FRAC_BITS_CODE, count)), kinds, FIRST_FRAC_BITS)
    _check_range("fractional bits", frac_bits, 0, MAX_FRAC_BITS)
    scale_indices = _sums(decode_offsets(decoder, _code_rows(SCALE_INDEX_CODE, count)), kinds, FIRST_SCALE_INDEX)
    _check_range("scale index", scale_indices, 0, tables.NUM_SCALES - 1)
    raw_bits = decode_offsets(decoder, _code_rows(RAW_BITS_CODE, count))
    _check_range("raw bits", raw_bits, 0, MAX_RAW_BITS)
    widths = np.repeat(raw_bits.astype(np.int64), sizes)
    high = decode_offsets(decoder, _rows(np.repeat(scale_indices, sizes))).astype(np.int64)
    values = (high << widths) + decode_raw_bits(decoder, widths) - ((np.int64(1) << widths) >> 1)
    largest = int(np.abs(values).max(initial=0))
    if largest > MAX_VALUE:
        raise RddFormatError(f"network parameters: magnitude {largest}, allowed {MAX_VALUE}")
    parts = np.split(values.astype(np.int32), np.cumsum(sizes)[:-1])
    return tuple(
        QuantizedTensor(part.reshape(shape), int(bits))
        for part, shape, bits in zip(parts, shapes, frac_bits, strict=True)
    )
