"""Network parameters of a slice to symbols and back (spec, "Network parameters").

Three small numbers describe each tensor: its fractional bits, the Laplace scale of its values, and how many low
bits of each value are written as they are. They are coded as differences between tensors of the same kind. Where hidden
units are sorted (`rducodec.units`), the keys of a unit that ties with the one before are coded as steps from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from rducodec.entropy import tables
from rducodec.entropy.plain_coder import Decoder, Encoder
from rducodec.entropy.symbols import (
    MAX_OFFSET,
    TAIL_START,
    decode_offsets,
    decode_raw_bits,
    encode_offsets,
    encode_raw_bits,
    escape_bits,
)
from rducodec.errors import RddFormatError, RddInputError
from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor
from rducodec.units import MAX_UNIT_KEYS, NO_KEYS, Places, key_places, tied

MAX_FRAC_BITS = 16
MAX_RAW_BITS = 15
FIRST_FRAC_BITS = 8  # what the first tensor of a kind is compared with
FIRST_SCALE_INDEX = tables.SCALE_ORIGIN
# Scale indices under which the three numbers are coded: b = 1, b = e**2.5 and b = e**-0.75.
FRAC_BITS_CODE = tables.SCALE_ORIGIN
SCALE_INDEX_CODE = tables.SCALE_ORIGIN + 40
RAW_BITS_CODE = tables.SCALE_ORIGIN - 12
SEARCH_REACH = 8  # scale indices tried on either side of the one that the mean magnitude suggests
SMALLEST_RAW_SPREAD, LARGEST_RAW_SPREAD = 1.0, 256.0  # mean magnitudes between which raw bits are tried
SMALL_MAGNITUDES = 1 << 10
SMALLEST_SPREAD = 1e-2  # below the least Laplace scale
MAX_VALUE = (1 << 24) - 1  # of a quantised parameter
UNIT_KEYS_BITS = 16  # of the header field that says how units are sorted


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


def magnitude_bits(magnitudes: np.ndarray, scale_indices: np.ndarray) -> np.ndarray:
    """Code length in bits of offsets of these magnitudes around a mean of 0, float64, shape (scales, magnitudes).

    Infinite for magnitudes that cannot be coded.
    """
    near, scales = np.minimum(2 * magnitudes, tables.ESCAPE), scale_indices[:, None]
    bits = tables.primary_bits()[_rows(scales), near]
    bits += np.where(magnitudes < TAIL_START, 0.0, escape_bits(magnitudes, scales))
    return np.where(magnitudes > MAX_OFFSET, np.inf, bits)


@cache
def _small_magnitude_bits() -> np.ndarray:
    """`magnitude_bits` of the magnitudes below SMALL_MAGNITUDES under all scales: searches ask for them a lot."""
    return magnitude_bits(np.arange(SMALL_MAGNITUDES), np.arange(tables.NUM_SCALES))


def _total_bits(magnitudes: np.ndarray, scales: slice) -> np.ndarray:
    """Bits of all offsets of these magnitudes (n,) together, under each of a range of scales."""
    if magnitudes.max(initial=0) < SMALL_MAGNITUDES:
        counts = np.bincount(magnitudes)
        return _small_magnitude_bits()[scales, : len(counts)] @ counts
    unique, counts = np.unique(magnitudes, return_counts=True)
    return magnitude_bits(unique, np.arange(scales.start, scales.stop)) @ counts


def best_code(values: np.ndarray) -> tuple[int, int, float]:
    """(scale_index, raw_bits, bits) under which integers cost least; bits without the three numbers."""
    values = values.reshape(-1).astype(np.int64)
    spread = float(np.abs(values).mean()) if values.size else 0.0
    best = (0, 0, np.inf)
    for raw_bits in range(MAX_RAW_BITS + 1):
        part = spread / (1 << raw_bits)
        if raw_bits and part < SMALLEST_RAW_SPREAD:
            break
        if part > LARGEST_RAW_SPREAD and raw_bits < MAX_RAW_BITS:
            continue
        scale, bits = _best_scale(np.abs(_split(values, raw_bits)[0]), part)
        bits += raw_bits * values.size
        if bits < best[2]:
            best = (scale, raw_bits, bits)
    return best


def _best_scale(magnitudes: np.ndarray, spread: float | None = None) -> tuple[int, float]:
    """(scale_index, bits) under which offsets of these magnitudes cost least; `spread`: their mean, if it is known."""
    if spread is None:
        spread = float(magnitudes.mean()) if magnitudes.size else 1.0
    centre = round(tables.SCALE_ORIGIN + tables.SCALES_PER_NEPER * np.log(max(spread, SMALLEST_SPREAD)))
    centre = min(centre, tables.NUM_SCALES - 1)
    scales = slice(max(0, centre - SEARCH_REACH), min(tables.NUM_SCALES, centre + SEARCH_REACH + 1))
    bits = _total_bits(magnitudes, scales)
    return scales.start + int(bits.argmin()), float(bits.min())


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


def _number(steps: np.ndarray) -> np.ndarray:
    """Steps of at least 0 as offsets, so that 0, 1, 2, ... have the symbols 0, 1, 2, ..."""
    return np.where(steps & 1, (steps + 1) >> 1, -(steps >> 1))


def _step(numbers: np.ndarray) -> np.ndarray:
    """Inverse of `_number`."""
    return np.where(numbers > 0, 2 * numbers - 1, -2 * numbers)


@dataclass(frozen=True)
class TensorCodes:
    """How the values of each tensor of a slice are coded; int32 arrays (tensors,), all within their ranges."""

    frac_bits: np.ndarray
    scale_indices: np.ndarray
    raw_bits: np.ndarray
    gap_indices: np.ndarray  # (keys of all layers,): scales of the steps between sorted units


@dataclass(frozen=True)
class _Offsets:
    """What is coded of all values of the tensors of a slice, arrays (values,)."""

    high: np.ndarray  # offsets: high parts of values, or steps from the unit before
    is_step: np.ndarray  # bool
    low: np.ndarray  # 0 for steps

    @classmethod
    def of(cls, values: np.ndarray, raw_bits: np.ndarray, keys: Places) -> _Offsets:
        """`values` and `raw_bits` of all values, int64. RddInputError for units that are not sorted."""
        high, low = _split(values, raw_bits)
        is_step = np.zeros(len(values), bool)
        for places in keys:
            steps = np.diff(values[places], axis=1, prepend=0)
            ties = tied(steps)
            if (steps[ties] < 0).any():
                raise RddInputError("hidden units are not in the order of their keys")
            chosen = places[ties]
            is_step[chosen], high[chosen], low[chosen] = True, _number(steps[ties]), 0
        return cls(high, is_step, low)


def _flat(tensors: Sequence[QuantizedTensor]) -> np.ndarray:
    return np.concatenate([tensor.values.reshape(-1) for tensor in tensors]).astype(np.int64)


def best_codes(tensors: Sequence[QuantizedTensor], keys: Places = NO_KEYS) -> TensorCodes:
    """The codes of tensors under which their values cost least.

    RddInputError for units that are not sorted, or farther apart than steps can be.
    """
    values, sizes = _flat(tensors), _sizes([tensor.values.shape for tensor in tensors])
    offsets = _Offsets.of(values, np.zeros(len(values), np.int64), keys)
    cuts = np.cumsum(sizes)[:-1]
    parts = zip(np.split(values, cuts), np.split(offsets.is_step, cuts), strict=True)
    codes = [best_code(part[~is_step]) for part, is_step in parts]
    scale_indices, raw_bits = (np.array(numbers) for numbers in zip(*((c[0], c[1]) for c in codes), strict=True))
    steps = [offsets.high[places][offsets.is_step[places]] for layer in keys for places in layer]
    scales = [_best_scale(np.abs(part)) for part in steps]
    if not all(np.isfinite(bits) for _, bits in scales):
        raise RddInputError("hidden units are too far apart to be coded by their order")
    gap_indices = np.array([scale for scale, _ in scales], np.int64)
    return TensorCodes(np.array([tensor.frac_bits for tensor in tensors]), scale_indices, raw_bits, gap_indices)


def _gap_scales(codes: TensorCodes, keys: Places) -> list[np.ndarray]:
    """The scale indices of the keys of each layer."""
    return np.split(codes.gap_indices, np.cumsum([len(places) for places in keys])[:-1]) if len(keys) else []


def encode_tensors(encoder: Encoder, tensors: Sequence[QuantizedTensor], keys: Places = NO_KEYS) -> None:
    """Write the tensors that a slice stores, in stream order.

    `keys` says where units are sorted. RddInputError for a value or a step out of range, or units in another order.
    """
    if not tensors:
        return
    for index, tensor in enumerate(tensors):
        largest = int(np.abs(tensor.values.astype(np.int64)).max(initial=0))
        if largest > MAX_VALUE or not 0 <= tensor.frac_bits <= MAX_FRAC_BITS:
            raise RddInputError(
                f"network tensor {index}: values up to {largest} with {tensor.frac_bits} fractional bits, "
                f"allowed {MAX_VALUE} and 0..{MAX_FRAC_BITS}"
            )
    shapes = [tensor.values.shape for tensor in tensors]
    kinds, sizes = _kinds(shapes), _sizes(shapes)
    codes = best_codes(tensors, keys)
    frac_bits, scale_indices, raw_bits = codes.frac_bits, codes.scale_indices, codes.raw_bits
    count = len(tensors)
    encode_offsets(encoder, _differences(frac_bits, kinds, FIRST_FRAC_BITS), _code_rows(FRAC_BITS_CODE, count))
    encode_offsets(encoder, _differences(scale_indices, kinds, FIRST_SCALE_INDEX), _code_rows(SCALE_INDEX_CODE, count))
    encode_offsets(encoder, raw_bits, _code_rows(RAW_BITS_CODE, count))
    gaps = np.diff(codes.gap_indices, prepend=FIRST_SCALE_INDEX)
    encode_offsets(encoder, gaps, _code_rows(SCALE_INDEX_CODE, len(gaps)))
    widths, rows = np.repeat(raw_bits, sizes), _rows(np.repeat(scale_indices, sizes))
    offsets = _Offsets.of(_flat(tensors), widths, keys)
    high, rest = offsets.high.astype(np.int32), np.ones(len(widths), bool)
    for places, scales in zip(keys, _gap_scales(codes, keys), strict=True):
        for of_key, scale in zip(places, scales, strict=True):
            key_rows = np.where(offsets.is_step[of_key], _rows(scale), rows[of_key])
            encode_offsets(encoder, high[of_key], key_rows)
            rest[of_key] = False
    encode_offsets(encoder, high[rest], rows[rest])
    encode_raw_bits(encoder, offsets.low, np.where(offsets.is_step, 0, widths))


def _check_range(name: str, numbers: np.ndarray, low: int, high: int) -> None:
    wrong = np.flatnonzero((numbers < low) | (numbers > high))
    if len(wrong):
        raise RddFormatError(f"network tensor {wrong[0]}: {name} {numbers[wrong[0]]}, allowed {low}..{high}")


def decode_codes(decoder: Decoder, shapes: Sequence[tuple[int, ...]], keys: Places = NO_KEYS) -> TensorCodes:
    """The numbers of every tensor and key, the first that a payload holds. RddFormatError for one out of range."""
    kinds, count = _kinds(shapes), len(shapes)
    frac_bits = _sums(decode_offsets(decoder, _code_rows(FRAC_BITS_CODE, count)), kinds, FIRST_FRAC_BITS)
    _check_range("fractional bits", frac_bits, 0, MAX_FRAC_BITS)
    scale_indices = _sums(decode_offsets(decoder, _code_rows(SCALE_INDEX_CODE, count)), kinds, FIRST_SCALE_INDEX)
    _check_range("scale index", scale_indices, 0, tables.NUM_SCALES - 1)
    raw_bits = decode_offsets(decoder, _code_rows(RAW_BITS_CODE, count))
    _check_range("raw bits", raw_bits, 0, MAX_RAW_BITS)
    num_keys = sum(len(places) for places in keys)
    gaps = decode_offsets(decoder, _code_rows(SCALE_INDEX_CODE, num_keys)).astype(np.int64)
    gap_indices = FIRST_SCALE_INDEX + np.cumsum(gaps)
    _check_range("scale index of steps between units, key", gap_indices, 0, tables.NUM_SCALES - 1)
    return TensorCodes(frac_bits, scale_indices, raw_bits, gap_indices)


def _known_bits(offsets: np.ndarray, scale_index: int) -> float:
    """Bits of offsets under a scale; one beyond MAX_OFFSET counts as MAX_OFFSET."""
    magnitudes, counts = np.unique(np.minimum(np.abs(offsets), MAX_OFFSET), return_counts=True)
    return float(magnitude_bits(magnitudes, np.array([scale_index]))[0] @ counts)


def information_bits(tensors: Sequence[QuantizedTensor], codes: TensorCodes, keys: Places = NO_KEYS) -> np.ndarray:
    """Bits of each tensor under its own codes, all their numbers included; float64, shape (tensors,).

    An offset beyond 65535, which no encoder of ours writes, counts as 65535.
    """
    shapes = [tensor.values.shape for tensor in tensors]
    kinds, sizes = _kinds(shapes), _sizes(shapes)
    three = (
        (_differences(codes.frac_bits, kinds, FIRST_FRAC_BITS), FRAC_BITS_CODE),
        (_differences(codes.scale_indices, kinds, FIRST_SCALE_INDEX), SCALE_INDEX_CODE),
        (codes.raw_bits, RAW_BITS_CODE),
    )
    bits = np.zeros(len(tensors))
    for numbers, scale_index in three:
        bits += magnitude_bits(np.abs(numbers), np.array([scale_index]))[0]
    offsets = _Offsets.of(_flat(tensors), np.repeat(codes.raw_bits.astype(np.int64), sizes), keys)
    ends = np.cumsum(sizes)
    for index, (end, size) in enumerate(zip(ends.tolist(), sizes.tolist(), strict=True)):
        part = slice(end - size, end)
        plain = offsets.high[part][~offsets.is_step[part]]
        bits[index] += _known_bits(plain, int(codes.scale_indices[index])) + int(codes.raw_bits[index]) * plain.size
    gaps = np.diff(codes.gap_indices, prepend=FIRST_SCALE_INDEX).tolist()
    for of_key, gap, scale_index in zip((p for layer in keys for p in layer), gaps, codes.gap_indices, strict=True):
        index = int(np.searchsorted(ends, of_key[0], side="right"))
        steps = offsets.high[of_key][offsets.is_step[of_key]]
        bits[index] += _known_bits(steps, int(scale_index)) + _known_bits(np.array([gap]), SCALE_INDEX_CODE)
    return bits


def sorted_bits(slices: Sequence[LatentSlice], config: LatentConfig) -> tuple[int, float]:
    """By how many keys the units of these slices cost least, and the bits of all their decoder networks then.

    0 keys, and no bits of a header field, where the order of units is of no use. The units are sorted already.
    """
    tensors = config.stored_tensors(entropy=False, decoder=True)

    def bits(count: int) -> float:
        keys, total = key_places(config, tensors, count), 0.0
        for part in slices:
            stored = part.tensors()[tensors]
            total += float(information_bits(stored, best_codes(stored, keys), keys).sum())
        return total

    best, least = 0, bits(0)
    for count in range(1, MAX_UNIT_KEYS + 1 if config.synthesis_widths else 1):
        try:
            found = bits(count) + UNIT_KEYS_BITS
        except RddInputError:  # units that are too far apart
            break
        if found >= least:
            break
        best, least = count, found
    return best, least


def decode_tensors(
    decoder: Decoder, shapes: Sequence[tuple[int, ...]], keys: Places = NO_KEYS
) -> tuple[QuantizedTensor, ...]:
    """Read what `encode_tensors` wrote of tensors of these shapes. RddFormatError for a number out of range."""
    if not shapes:
        return ()
    sizes = _sizes(shapes)
    codes = decode_codes(decoder, shapes, keys)
    widths, rows = np.repeat(codes.raw_bits.astype(np.int64), sizes), _rows(np.repeat(codes.scale_indices, sizes))
    high, rest = np.empty(len(widths), np.int64), np.ones(len(widths), bool)
    steps: list[tuple[np.ndarray, np.ndarray]] = []  # (places of a key, which of them are steps)
    for places, scales in zip(keys, _gap_scales(codes, keys), strict=True):
        is_step = np.arange(places.shape[1]) > 0
        for of_key, scale in zip(places, scales, strict=True):
            high[of_key] = decode_offsets(decoder, np.where(is_step, _rows(scale), rows[of_key]))
            widths[of_key[is_step]], rest[of_key] = 0, False
            steps.append((of_key, is_step))
            is_step = is_step & (high[of_key] == 0)
    high[rest] = decode_offsets(decoder, rows[rest])
    values = (high << widths) + decode_raw_bits(decoder, widths) - ((np.int64(1) << widths) >> 1)
    for of_key, is_step in steps:
        values[of_key] = _climbed(values[of_key], is_step)
    largest = int(np.abs(values).max(initial=0))
    if largest > MAX_VALUE:
        raise RddFormatError(f"network parameters: magnitude {largest}, allowed {MAX_VALUE}")
    parts = np.split(values.astype(np.int32), np.cumsum(sizes)[:-1])
    return tuple(
        QuantizedTensor(part.reshape(shape), int(bits))
        for part, shape, bits in zip(parts, shapes, codes.frac_bits, strict=True)
    )


def _climbed(values: np.ndarray, is_step: np.ndarray) -> np.ndarray:
    """Values of a key of all units, from values where they are no steps and the numbers of steps elsewhere.

    A step is below 2**25, there are below 2**16 units and 15 raw bits: far from the limits of 64 bits.
    """
    begins = np.maximum.accumulate(np.where(is_step, 0, np.arange(len(values))))
    heights = np.cumsum(np.where(is_step, _step(values), 0))
    result: np.ndarray = values[begins] + heights - heights[begins]
    return result
