"""Integers to symbols and back: offsets, escapes, raw bits (spec, "Coding a batch of integers")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rducodec.entropy import tables
from rducodec.entropy.plain_coder import Decoder, Encoder

TAIL_START = tables.OFFSET_REACH + 1  # least |offset| that is escaped
MAX_OFFSET = (1 << 16) - 1  # an offset has at most this magnitude


def _symbol_of_offset() -> np.ndarray:
    symbols = np.empty(2 * tables.OFFSET_REACH + 1, np.int32)
    symbols[tables.SYMBOL_OFFSETS + tables.OFFSET_REACH] = np.arange(len(tables.SYMBOL_OFFSETS))
    return symbols


_SYMBOL_OF_OFFSET = _symbol_of_offset()
# An escape decodes to an offset outside the alphabet, to be replaced.
_OFFSET_OF_SYMBOL = np.append(tables.SYMBOL_OFFSETS, TAIL_START).astype(np.int32)
_BIT_ROWS = np.broadcast_to(tables.bit_row(), (1 << 12, 2)).copy()


def _repeated(row: np.ndarray, count: int) -> np.ndarray:
    return np.broadcast_to(row, (count, len(row))).copy()


def _encode_bits(encoder: Encoder, bits: np.ndarray) -> None:
    encoder.encode(bits.astype(np.int32), _repeated(tables.bit_row(), len(bits)))


def _decode_bits(decoder: Decoder, count: int) -> np.ndarray:
    rows = _BIT_ROWS[:count] if count <= len(_BIT_ROWS) else _repeated(tables.bit_row(), count)
    return decoder.decode(rows)


def _join_bits(fields: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Bits of (value, width) fields, for each item all of its fields, most significant bit first."""
    if not fields or not len(fields[0][0]):
        return np.empty(0, np.int64)
    values, widths = (np.stack(part, axis=1).reshape(-1).astype(np.int64) for part in zip(*fields, strict=True))
    item, place = _bit_places(widths)
    return (values[item] >> place) & 1


def _bit_places(widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every bit of fields of these widths: the field it belongs to, and its place value's exponent."""
    field = np.repeat(np.arange(len(widths)), widths)
    ends = np.cumsum(widths)
    return field, ends[field] - 1 - np.arange(len(field))


def _split_bits(bits: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Values of consecutive fields of these widths, int64; fields of width 0 are 0."""
    field, place = _bit_places(widths)
    # Sums of fewer than 53 bits are exact in the float64 of bincount.
    return np.bincount(field, bits.astype(np.int64) << place, len(widths)).astype(np.int64)


def encode_offsets(encoder: Encoder, offsets: np.ndarray, rows: np.ndarray) -> None:
    """Write integers of magnitude <= 65535, each under its row of the primary table (both of shape (n,))."""
    magnitudes = np.abs(offsets)
    escaped = magnitudes >= TAIL_START
    clipped = np.where(escaped, 0, offsets)
    symbols = np.where(escaped, tables.ESCAPE, _SYMBOL_OF_OFFSET[clipped + tables.OFFSET_REACH])
    encoder.encode(symbols, tables.primary_table()[rows])
    if not escaped.any():
        return
    scales = rows[escaped] // tables.NUM_MEANS
    tails = magnitudes[escaped].astype(np.int64) - TAIL_START
    encoder.encode(np.minimum(tails, tables.ESCAPE), tables.tail_table()[scales])
    far = tails >= tables.ESCAPE
    orders = tables.golomb_orders()[scales]
    values = np.where(far, tails - tables.ESCAPE + (np.int64(1) << orders), 1)
    widths = np.where(far, np.frexp(values.astype(np.float64))[1] - 1, 0)  # bits below the leading one
    encoder.encode((widths - orders)[far], _repeated(tables.exponent_row(), int(far.sum())))
    signs = (offsets[escaped] < 0).astype(np.int64)
    _encode_bits(encoder, _join_bits([(signs, np.ones_like(widths)), (values, widths)]))


def decode_offsets(decoder: Decoder, rows: np.ndarray) -> np.ndarray:
    """Read integers written by `encode_offsets` under the same rows; int32, shape (n,).

    A hostile payload can give magnitudes up to 2**22: the caller checks the range of what it makes of them.
    """
    return decode_offsets_each([decoder], rows[None])[0]


def decode_offsets_each(decoders: Sequence[Decoder], rows: np.ndarray) -> np.ndarray:
    """`decode_offsets` of several decoders side by side: `rows` and the result are (decoders, n)."""
    frequencies = np.take(tables.primary_table(), rows, axis=0)
    symbols = np.stack([decoder.decode(part) for decoder, part in zip(decoders, frequencies, strict=True)])
    offsets = np.take(_OFFSET_OF_SYMBOL, symbols)
    escaped = symbols == tables.ESCAPE
    for index in np.flatnonzero(escaped.any(axis=1)).tolist():
        scales = rows[index, escaped[index]] // tables.NUM_MEANS
        offsets[index, escaped[index]] = _decode_escapes(decoders[index], scales)
    return offsets


def _decode_escapes(decoder: Decoder, scales: np.ndarray) -> np.ndarray:
    """Offsets that were escaped. Plain integers: there are few, and numpy would take longer to start."""
    orders = tables.golomb_orders()[scales].tolist()
    tails = decoder.decode(np.take(tables.tail_table(), scales, axis=0)).tolist()
    exponents = iter(decoder.decode(_repeated(tables.exponent_row(), tails.count(tables.ESCAPE))).tolist())
    widths = [next(exponents) + k if tail == tables.ESCAPE else 0 for tail, k in zip(tails, orders, strict=True)]
    digits = (_decode_bits(decoder, len(tails) + sum(widths)) + ord("0")).astype(np.uint8).tobytes()
    offsets, place = [], 0
    for tail, order, width in zip(tails, orders, widths, strict=True):
        sign, mantissa = divmod(int(digits[place : place + 1 + width], 2), 1 << width)
        place += 1 + width
        far = mantissa + (1 << width) - (1 << order) if tail == tables.ESCAPE else 0
        magnitude = TAIL_START + tail + far
        offsets.append(-magnitude if sign else magnitude)
    return np.array(offsets, np.int32)


def escape_bits(magnitudes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Bits, float64, that escaped offsets take after their symbol: tail, far part and sign (arrays that broadcast)."""
    tail_bits = tables.PRECISION - np.log2(tables.tail_table().astype(np.float64) + 1)
    tails = np.clip(magnitudes - TAIL_START, 0, tables.ESCAPE)
    orders = tables.golomb_orders()[scales]
    far = np.maximum(magnitudes - TAIL_START - tables.ESCAPE, 0) + (np.int64(1) << orders)
    widths = np.frexp(far.astype(np.float64))[1] - 1
    prefixes = np.minimum(widths - orders + 1, tables.ALPHABET - 1)
    return 1 + tail_bits[scales, tails] + np.where(tails == tables.ESCAPE, prefixes + widths, 0)


def offset_bits(offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Bits, float64, of each offset under its row of the primary table, as `encode_offsets` codes it (equal shapes)."""
    magnitudes = np.abs(offsets)
    escaped = magnitudes >= TAIL_START
    symbols = np.where(escaped, tables.ESCAPE, _SYMBOL_OF_OFFSET[np.where(escaped, 0, offsets) + tables.OFFSET_REACH])
    bits = tables.primary_bits()[rows, symbols]
    bits[escaped] += escape_bits(magnitudes[escaped], rows[escaped] // tables.NUM_MEANS)
    return bits


def encode_raw_bits(encoder: Encoder, values: np.ndarray, widths: np.ndarray) -> None:
    """Write unsigned integers, each in its own number of equiprobable bits (arrays of shape (n,))."""
    _encode_bits(encoder, _join_bits([(values, widths)]))


def decode_raw_bits(decoder: Decoder, widths: np.ndarray) -> np.ndarray:
    """Read unsigned integers written by `encode_raw_bits`; int64, shape (n,)."""
    return _split_bits(_decode_bits(decoder, int(widths.sum())), widths)
