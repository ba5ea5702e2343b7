"""Numbers of many values: an offset from a predicted mean, and low bits where the scale is large (spec, "Wide")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rducodec.entropy import tables
from rducodec.entropy.plain_coder import Decoder, Encoder
from rducodec.entropy.symbols import decode_offsets, decode_raw_bits, encode_offsets, encode_raw_bits
from rducodec.errors import RddFormatError
from rducodec.pixels.forms import (
    FULL_OCTAVE,
    SCALE_INDICES,
    UNIT_BITS,
    Canvas,
    Form,
    Setting,
    scale_parts,
)
from rducodec.pixels.neighbours import geometry, places_of

REACHES = (4, 6, 10)
REACH_BITS = 2
HALF_UNIT = 1 << (UNIT_BITS - 1)


def rows_of(mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers, centres and low bits of numbers with these means and scales; int64 (n,)."""
    octave, fine = scale_parts(scale)
    low_bits = np.maximum(octave - FULL_OCTAVE, 0)
    index = SCALE_INDICES[octave - low_bits, fine]
    # A number stands for the whole cell of its high part, whose middle is (2**low_bits - 1) / 2 above its first number.
    middle = (HALF_UNIT << low_bits) - HALF_UNIT
    high_mean = (mean.astype(np.int64) - middle + ((np.int64(1) << low_bits) >> 1)) >> low_bits
    shifted = high_mean + HALF_UNIT
    return tables.NUM_MEANS * index + (shifted & (tables.NUM_MEANS - 1)), shifted >> UNIT_BITS, low_bits


def encode_setting(encoder: Encoder, setting: Setting, bits: int) -> None:
    """Write top, origin, spread and reach."""
    fields = np.array([setting.top, setting.origin, setting.spread, REACHES.index(setting.reach)], np.int64)
    encode_raw_bits(encoder, fields, np.array([bits, bits, bits, REACH_BITS]))


def decode_setting(decoder: Decoder, bits: int) -> Setting:
    """Read what `encode_setting` wrote. RddFormatError for a field out of range."""
    top, origin, spread, reach = decode_raw_bits(decoder, np.array([bits, bits, bits, REACH_BITS])).tolist()
    check_setting(top, origin, spread)
    if reach >= len(REACHES):
        raise RddFormatError(f"coded numbers: reach {reach}, allowed 0..{len(REACHES) - 1}")
    return Setting(top, origin, spread, REACHES[reach])


def check_setting(top: int, origin: int, spread: int) -> None:
    """RddFormatError unless there are two numbers or more, and the others are among them."""
    if top < 1 or origin > top or spread > top:
        raise RddFormatError(f"coded numbers: origin {origin} and spread {spread} with a greatest number of {top}")


def encode_wide(encoder: Encoder, numbers: np.ndarray, setting: Setting, forms: Sequence[Form]) -> None:
    """Write numbers (n, channels, height, width), after setting and forms."""
    _, channels, height, width = numbers.shape
    plan = geometry(height, width)
    known = by_position(numbers)
    canvas = Canvas((channels, height, width), len(numbers), setting)
    for positions in plan.steps:
        places = places_of(plan, positions)
        for channel in range(channels):
            mean, scale = canvas.predict(channel, places, forms[channel])
            values = known[channel, positions].reshape(-1)
            rows, centre, low_bits = rows_of(mean, scale)
            high = values >> low_bits
            encode_offsets(encoder, (high - centre).astype(np.int32), rows)
            encode_raw_bits(encoder, values - (high << low_bits), low_bits)
            canvas.write(channel, positions, values, mean)


def decode_wide(decoder: Decoder, shape: tuple[int, ...], setting: Setting, forms: Sequence[Form]) -> np.ndarray:
    """Read what `encode_wide` wrote, uint16. RddFormatError for a number that is too large."""
    num_samples, channels, height, width = shape
    plan = geometry(height, width)
    canvas = Canvas((channels, height, width), num_samples, setting)
    for positions in plan.steps:
        places = places_of(plan, positions)
        for channel in range(channels):
            mean, scale = canvas.predict(channel, places, forms[channel])
            rows, centre, low_bits = rows_of(mean, scale)
            high = centre + decode_offsets(decoder, rows)
            low = decode_raw_bits(decoder, low_bits) if low_bits.any() else 0
            values = (high << low_bits) + low
            if values.min() < 0 or values.max() > setting.top:
                raise RddFormatError(f"coded numbers: {values.min()}..{values.max()}, allowed 0..{setting.top}")
            canvas.write(channel, positions, values, mean)
    return by_sample(canvas.values[:, :-1], shape)


def by_position(numbers: np.ndarray) -> np.ndarray:
    """int64 (channels, positions, n) of numbers (n, channels, height, width)."""
    flat = numbers.reshape(*numbers.shape[:2], -1).astype(np.int64)
    return np.ascontiguousarray(flat.transpose(1, 2, 0))


def by_sample(known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of `by_position`, uint16: numbers have at most 16 bits."""
    return known.transpose(2, 0, 1).astype(np.uint16, order="C").reshape(shape)
