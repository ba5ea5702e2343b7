"""Latents of a slice decoded by compiled loops: the same integers as `rducodec.entropy.latents`, several times faster.

The only module that knows numba, an optional extra. `rducodec.entropy.latents.decoder_class` decides when it is used.
A kernel runs without the interpreter lock, so slices decode side by side in threads. All arithmetic is 32-bit
integers (accumulators are proved to fit by `checked_layers`), and the 64-bit state of the range decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np

from rducodec.entropy import tables
from rducodec.entropy.context import wavefront
from rducodec.entropy.latents import SliceDecoder
from rducodec.entropy.network import (
    MEAN_BITS,
    MEAN_MAX,
    MEAN_MIN,
    SCALE_INDEX_OFFSET,
    checked_layers,
)
from rducodec.entropy.plain_coder import END_SLACK, STATE_MASK, WORD_BITS, payload_words
from rducodec.entropy.symbols import TAIL_START
from rducodec.errors import RddFormatError
from rducodec.model import LatentConfig, QuantizedTensor

LANES = 64  # latents that go through the layers together; a constant, so that the inner loops are unrolled vectors
FAN_IN = 8  # inputs of a neuron that are added in one pass; divides every context size
STATE = 3  # of the range decoder: point - lower, range, words read
INVALID = -1  # in place of a symbol: the payload is not a sequence of symbols

ALPHABET, ESCAPE = tables.ALPHABET, tables.ESCAPE
MEAN_ORIGIN, LAST_MEAN, LAST_SCALE = tables.MEAN_ORIGIN, tables.NUM_MEANS - 1, tables.NUM_SCALES - 1
# Rows of the table of all frequencies: primary symbols, tails of each scale index, exponents, bits.
TAIL_ROW = tables.NUM_SCALES * tables.NUM_MEANS
EXPONENT_ROW = TAIL_ROW + tables.NUM_SCALES
BIT_ROW = EXPONENT_ROW + 1
PRECISION = np.uint64(tables.PRECISION)
TOTAL = np.uint64(tables.TOTAL)
WORD = np.uint64(WORD_BITS)
FULL_WORD = np.uint64(1 << WORD_BITS)


def _compiled(function: Any) -> Any:
    """The function as machine code, kept on disk between processes where a folder for it can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}  # numpy: a division tests for no zero
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder: compile in every process
        return numba.njit(**options)(function)


@cache
def _cumulative() -> np.ndarray:
    """Sums of the frequencies up to and including each symbol, uint32, rows as named above."""
    bits = np.append(tables.bit_row(), np.full(ALPHABET - 2, -1, np.float32))  # no third symbol
    rows = [tables.primary_table(), tables.tail_table(), tables.exponent_row()[None], bits[None]]
    return np.cumsum(np.concatenate(rows).astype(np.int64) + 1, axis=1).astype(np.uint32)


@lru_cache(maxsize=32)
def _neighbours(grid_shapes: tuple[tuple[int, int], ...], context_size: int) -> np.ndarray:
    """Coding numbers of the context of each latent, int32 (num_latents, context_size)."""
    return np.ascontiguousarray(np.concatenate(wavefront(grid_shapes, context_size).gather, axis=1).T, np.int32)


@_compiled
def _advance(state: Any, words: Any, scale: Any, lower: Any, frequency: Any) -> None:
    """Take the interval [lower, lower + frequency) of 2**24; `scale` is range >> 24."""
    difference = state[0] - scale * lower
    width = scale * frequency
    if width >> WORD == 0:
        position = state[2]
        difference <<= WORD
        if position < np.uint64(len(words)):
            difference |= np.uint64(words[position])
        width <<= WORD
        state[2] = position + np.uint64(1)
    state[0] = difference
    state[1] = width


@_compiled
def _symbol(state: Any, words: Any, cumulative: Any, row: Any) -> Any:
    """The next symbol under a row of `_cumulative`, or INVALID."""
    scale = state[1] >> PRECISION
    quantile = state[0] // scale
    if quantile >= TOTAL:
        return INVALID
    symbol = 0
    lower = np.uint64(0)
    upper = np.uint64(cumulative[row, 0])
    while quantile >= upper:
        symbol += 1
        lower = upper
        upper = np.uint64(cumulative[row, symbol])
    _advance(state, words, scale, lower, upper - lower)
    return symbol


@_compiled
def _decode_rows(state: Any, words: Any, rows: Any, symbols: Any) -> Any:
    """Symbols for float32 rows of frequencies - 1. False where the payload is not a sequence of symbols."""
    for index in range(len(rows)):
        scale = state[1] >> PRECISION
        quantile = state[0] // scale
        if quantile >= TOTAL:
            return False
        symbol = 0
        lower = np.uint64(0)
        frequency = np.uint64(rows[index, 0]) + np.uint64(1)
        while quantile >= lower + frequency:
            symbol += 1
            lower += frequency
            frequency = np.uint64(rows[index, symbol]) + np.uint64(1)
        _advance(state, words, scale, lower, frequency)
        symbols[index] = symbol
    return True


@_compiled
def _escaped(state: Any, words: Any, cumulative: Any, orders: Any, rows: Any, offsets: Any) -> Any:
    """Offsets of latents that were escaped, in `offsets`; `rows` are those of the primary table. False as above."""
    far = np.empty(len(rows), np.int64)  # bits of the mantissa
    for index in range(len(rows)):
        offsets[index] = _symbol(state, words, cumulative, TAIL_ROW + (rows[index] >> MEAN_BITS))
        if offsets[index] == INVALID:
            return False
    for index in range(len(rows)):
        far[index] = 0
        if offsets[index] == ESCAPE:
            exponent = _symbol(state, words, cumulative, EXPONENT_ROW)
            if exponent == INVALID:
                return False
            far[index] = exponent + orders[rows[index] >> MEAN_BITS]
    for index in range(len(rows)):
        sign = _symbol(state, words, cumulative, BIT_ROW)
        mantissa = 1
        for _ in range(far[index]):
            bit = _symbol(state, words, cumulative, BIT_ROW)
            if bit == INVALID:
                return False
            mantissa = 2 * mantissa + bit
        if sign == INVALID:
            return False
        magnitude = TAIL_START + offsets[index]
        if offsets[index] == ESCAPE:
            magnitude += mantissa - (1 << orders[rows[index] >> MEAN_BITS])
        offsets[index] = -magnitude if sign else magnitude
    return True


@_compiled
def _layer(weights: Any, offsets: Any, x: Any, y: Any) -> None:
    """y = weights @ x + offsets for LANES columns: (out, in), (out,), (in, LANES), (out, LANES)."""
    for neuron in range(len(offsets)):
        offset = offsets[neuron]
        for lane in range(LANES):
            y[neuron, lane] = offset
        for i in range(0, weights.shape[1], FAN_IN):
            w0, w1, w2, w3 = (
                weights[neuron, i],
                weights[neuron, i + 1],
                weights[neuron, i + 2],
                weights[neuron, i + 3],
            )
            w4, w5, w6, w7 = (
                weights[neuron, i + 4],
                weights[neuron, i + 5],
                weights[neuron, i + 6],
                weights[neuron, i + 7],
            )
            for lane in range(LANES):
                y[neuron, lane] += (
                    w0 * x[i, lane]
                    + w1 * x[i + 1, lane]
                    + w2 * x[i + 2, lane]
                    + w3 * x[i + 3, lane]
                    + w4 * x[i + 4, lane]
                    + w5 * x[i + 5, lane]
                    + w6 * x[i + 6, lane]
                    + w7 * x[i + 7, lane]
                )


@_compiled
def _gather(values: Any, neighbours: Any, first: Any, x: Any) -> Any:
    """Context values of LANES latents from column `first` of a step, or of those that are left; their number.

    `values` is (latents, samples), `neighbours` (latents of the step, context), `x` (context, LANES).
    """
    num_samples = values.shape[1]
    latent, sample = first // num_samples, first % num_samples
    lane = 0
    while lane < LANES and latent < len(neighbours):
        count = min(LANES - lane, num_samples - sample)
        for i in range(neighbours.shape[1]):
            source = neighbours[latent, i]
            for k in range(count):
                x[i, lane + k] = values[source, sample + k]
        lane += count
        latent += 1
        sample = 0
    return lane


@_compiled
def _decode_slice(
    state: Any,
    words: Any,
    cumulative: Any,
    orders: Any,
    bounds: Any,
    neighbours: Any,
    weights: Any,
    offsets: Any,
    shifts: Any,
    head_weights: Any,
    head_offsets: Any,
    head_shifts: Any,
    act_max: Any,
    act_frac_bits: Any,
    coded: Any,
) -> Any:
    """Latents of a slice into `coded`, int32 (latents, samples). False as above."""
    num_latents, num_samples = coded.shape
    context_size = neighbours.shape[1]
    values = np.zeros((num_latents + 1, num_samples), np.int32)
    flat_values = values.reshape(-1)
    flat_coded = coded.reshape(-1)
    x = np.zeros((context_size, LANES), np.int32)
    y = np.zeros((context_size, LANES), np.int32)
    head = np.zeros((2, LANES), np.int32)
    rows = np.zeros(LANES, np.int32)
    widest = 0
    for step in range(len(bounds) - 1):
        widest = max(widest, bounds[step + 1] - bounds[step])
    escaped = np.empty(widest * num_samples, np.int64)
    escaped_rows = np.empty(widest * num_samples, np.int64)
    escaped_offsets = np.empty(widest * num_samples, np.int64)
    for step in range(len(bounds) - 1):
        begin, end = bounds[step], bounds[step + 1]
        first = begin * num_samples
        num_escaped = 0
        for column in range(0, (end - begin) * num_samples, LANES):
            count = _gather(values, neighbours[begin:end], column, x)
            for depth in range(len(weights)):
                _layer(weights[depth], offsets[depth], x, y)
                shift = shifts[depth] & 31
                for i in range(context_size):
                    for lane in range(LANES):
                        x[i, lane] = min(max(y[i, lane] >> shift, 0), act_max)
            _layer(head_weights, head_offsets, x, head)
            mean_shift, scale_shift = head_shifts[0] & 31, head_shifts[1] & 31
            for lane in range(LANES):
                mean = min(max(head[0, lane] >> mean_shift, MEAN_MIN), MEAN_MAX) + MEAN_ORIGIN
                scale = min(max((head[1, lane] >> scale_shift) + SCALE_INDEX_OFFSET, 0), LAST_SCALE)
                head[0, lane] = mean >> MEAN_BITS
                rows[lane] = (scale << MEAN_BITS) | (mean & LAST_MEAN)
            for lane in range(count):
                symbol = _symbol(state, words, cumulative, rows[lane])
                place = first + column + lane
                if symbol == ESCAPE:
                    escaped[num_escaped] = place
                    escaped_rows[num_escaped] = rows[lane]
                    num_escaped += 1
                elif symbol == INVALID:
                    return False
                magnitude = (symbol + 1) >> 1
                flat_coded[place] = head[0, lane] + (magnitude if symbol & 1 else -magnitude)
        if num_escaped:
            if not _escaped(
                state, words, cumulative, orders, escaped_rows[:num_escaped], escaped_offsets[:num_escaped]
            ):
                return False
            for index in range(num_escaped):
                flat_coded[escaped[index]] += escaped_offsets[index] - TAIL_START
        for place in range(first, end * num_samples):
            latent = np.int64(flat_coded[place]) << act_frac_bits
            flat_values[place] = min(max(latent, -act_max), act_max)
    return True


class CompiledDecoder(SliceDecoder):
    """The range decoder as compiled loops, and all latents of a slice in one call."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._words = payload_words(payload)
        start = [int(word) for word in self._words[:2]] + [0, 0]
        self._state = np.array([(start[0] << WORD_BITS) | start[1], STATE_MASK, 2], np.uint64)

    @staticmethod
    def _check(valid: bool) -> None:
        if not valid:
            raise RddFormatError("range coder: the payload is not a sequence of symbols")

    def decode(self, rows: np.ndarray) -> np.ndarray:
        symbols = np.empty(len(rows), np.int32)
        self._check(_decode_rows(self._state, self._words, np.ascontiguousarray(rows, np.float32), symbols))
        return symbols

    def decode_slice(self, network: Sequence[QuantizedTensor], config: LatentConfig, coded: np.ndarray) -> None:
        act_max = (1 << config.act_bits) - 1
        (layers,), _ = checked_layers([network], config)
        plan = wavefront(config.grid_shapes(), config.context_size)
        size = config.context_size
        hidden = layers[:-1]
        shifts = np.array([shift for _, _, shift in hidden], np.int64)
        weights = np.array([weight for weight, _, _ in hidden], np.int32).reshape(-1, size, size)
        offsets = np.array([offset + ((1 << int(s)) >> 1) for _, offset, s in hidden], np.int32).reshape(-1, size)
        weight, offset, head_shifts = layers[-1]
        self._check(
            _decode_slice(
                self._state,
                self._words,
                _cumulative(),
                tables.golomb_orders(),
                plan.bounds,
                _neighbours(config.grid_shapes(), size),
                weights,
                offsets,
                shifts,
                np.ascontiguousarray(weight, np.int32),
                np.ascontiguousarray(offset + ((1 << head_shifts) >> 1), np.int32),
                head_shifts,
                act_max,
                config.act_frac_bits,
                coded,
            )
        )

    def finish(self) -> None:
        unread = int(self._state[2]) < len(self._words)
        if unread or int(self._state[0]) >= END_SLACK:
            raise RddFormatError("range coder: payload does not end with its last symbol")
