"""Latents of a slice decoded by compiled loops: the same integers as `rducodec.entropy.latents`, several times faster.

The only module that knows numba, an optional extra; `rducodec.entropy.latents.decoder_class` decides when it is used.
Kernels run without the interpreter lock, so slices decode side by side in threads. Networks are computed in 32-bit
integers (`checked_layers` proves that accumulators fit), LANES latents at a time. Indices are unsigned where that
spares numba a test for negative ones, which would keep a loop from becoming vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np

from rducodec.entropy import tables
from rducodec.entropy.context import wavefront_of
from rducodec.entropy.latents import SliceDecoder
from rducodec.entropy.network import MEAN_BITS, MEAN_MAX, MEAN_MIN, SCALE_INDEX_OFFSET, checked_layers
from rducodec.entropy.plain_coder import END_SLACK, STATE_MASK, WORD_BITS, payload_words
from rducodec.entropy.symbols import TAIL_START
from rducodec.errors import RddFormatError
from rducodec.model import LatentConfig, QuantizedTensor

if numba.config.DISABLE_JIT:
    raise ImportError("numba is told not to compile")

Index = np.uintp
LANES = 64  # latents that go through the layers together; a constant, so that loops over them need no remainder
FAN_IN = 8  # inputs of a neuron that are added in one pass, held in registers: divides every context size
SHIFT_MASK = 31  # shifts are smaller; said so that the compiler may shift 32-bit numbers

ALPHABET, ESCAPE = tables.ALPHABET, tables.ESCAPE
MEAN_ORIGIN, LAST_MEAN, LAST_SCALE = tables.MEAN_ORIGIN, tables.NUM_MEANS - 1, tables.NUM_SCALES - 1
# Rows of the table of all frequencies: primary symbols, tails of each scale index, exponents, bits.
TAIL_ROW = tables.NUM_SCALES * tables.NUM_MEANS
EXPONENT_ROW = TAIL_ROW + tables.NUM_SCALES
BIT_ROW = EXPONENT_ROW + 1
PRECISION = np.uint64(tables.PRECISION)
TOTAL = np.uint64(tables.TOTAL)
WORD = np.uint64(WORD_BITS)


def _compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code, kept on disk between processes where a folder for it can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}  # numpy: a division does not test for zero
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no such folder: compiled in every process
        return numba.njit(**options)(function)


@cache
def _cumulative() -> np.ndarray:
    """Sums of the frequencies up to and including each symbol, uint32 (rows as named above, 16)."""
    bits = np.append(tables.bit_row(), np.full(ALPHABET - 2, -1, np.float32))  # no third symbol
    rows = [tables.primary_table(), tables.tail_table(), tables.exponent_row()[None], bits[None]]
    return np.cumsum(np.concatenate(rows).astype(np.uint32) + 1, axis=1, dtype=np.uint32)


def _padded(size: int) -> int:
    """The next multiple of FAN_IN."""
    return -(-size // FAN_IN) * FAN_IN


@lru_cache(maxsize=32)
def _neighbours(config: LatentConfig) -> np.ndarray:
    """Coding numbers of the context of each latent, int64 (num_latents, inputs); padded with the outside to FAN_IN."""
    plan = wavefront_of(config)
    seen = np.concatenate(plan.gather, axis=1).T
    padding = ((0, 0), (0, _padded(seen.shape[1]) - seen.shape[1]))
    return np.ascontiguousarray(np.pad(seen, padding, constant_values=plan.num_latents))


@_compiled
def _read(state: Any, words: Any, cumulative: Any, rows: Any, symbols: Any) -> Any:
    """A symbol for each of these rows of `cumulative`. False where the payload is not a sequence of symbols.

    `state` is uint64 (3,): point - lower of the range decoder, its range, and the number of words read.
    """
    difference, width, position = state[0], state[1], state[2]
    for index in range(Index(len(rows))):
        scale = width >> PRECISION
        quantile = difference // scale
        if quantile >= TOTAL:
            return False
        row = Index(rows[index])
        symbol = Index(0)
        lower, upper = np.uint64(0), np.uint64(cumulative[row, symbol])
        while quantile >= upper:
            symbol += Index(1)
            lower, upper = upper, np.uint64(cumulative[row, symbol])
        symbols[index] = symbol
        difference -= scale * lower
        width = scale * (upper - lower)
        if width >> WORD == np.uint64(0):
            width <<= WORD
            difference <<= WORD
            if position < np.uint64(len(words)):
                difference |= np.uint64(words[position])
            position += np.uint64(1)
    state[0], state[1], state[2] = difference, width, position
    return True


@_compiled
def _read_escapes(state: Any, words: Any, cumulative: Any, orders: Any, scales: Any, offsets: Any) -> Any:
    """int32 offsets of escaped latents of these int32 scale indices. False as above."""
    count = len(offsets)
    rows = np.empty(count, np.int32)
    for index in range(count):
        rows[index] = TAIL_ROW + scales[index]
    if not _read(state, words, cumulative, rows, offsets):
        return False
    num_far = 0
    for index in range(count):
        if offsets[index] == ESCAPE:
            rows[num_far] = EXPONENT_ROW
            num_far += 1
    exponents = np.empty(num_far, np.int32)
    if not _read(state, words, cumulative, rows[:num_far], exponents):
        return False
    widths = np.zeros(count, np.int32)  # bits of the mantissa
    num_far, num_bits = 0, count
    for index in range(count):
        if offsets[index] == ESCAPE:
            widths[index] = exponents[num_far] + orders[scales[index]]
            num_bits += widths[index]
            num_far += 1
    rows, bits = np.empty(num_bits, np.int32), np.empty(num_bits, np.int32)
    for place in range(num_bits):
        rows[place] = BIT_ROW
    if not _read(state, words, cumulative, rows, bits):
        return False
    place = 0
    for index in range(count):
        sign = bits[place]
        magnitude = TAIL_START + offsets[index]
        if offsets[index] == ESCAPE:
            mantissa = 1
            for k in range(widths[index]):
                mantissa = 2 * mantissa + bits[place + 1 + k]
            magnitude += mantissa - (1 << orders[scales[index]])
        offsets[index] = -magnitude if sign else magnitude
        place += 1 + widths[index]
    return True


@_compiled
def _add_layer(weights: Any, fan_in: Any, x: Any, y: Any) -> None:
    """y += weights @ x; int32 (out, at least fan_in), (fan_in, LANES), (out, LANES)."""
    for neuron in range(Index(len(weights))):
        for first in range(Index(0), Index(fan_in), Index(FAN_IN)):
            for lane in range(Index(LANES)):
                total = y[neuron, lane]
                for i in range(Index(FAN_IN)):
                    total += weights[neuron, first + i] * x[first + i, lane]
                y[neuron, lane] = total


@_compiled
def _gather(values: Any, neighbours: Any, biases: Any, column: Any, x: Any, choice: Any) -> None:
    """Context values of the latents of a step from `column` on, as many as there are up to LANES.

    `values` is (latents, samples), `neighbours` (latents of the step, inputs), `x` (inputs, LANES). `biases`, the
    output bias of each latent of the step, go into `choice` (LANES,).
    """
    num_samples = Index(values.shape[1])
    latent, sample, lane = Index(column // values.shape[1]), Index(column % values.shape[1]), Index(0)
    while lane < Index(LANES) and latent < Index(len(neighbours)):
        count = min(Index(LANES) - lane, num_samples - sample)
        for i in range(Index(neighbours.shape[1])):
            source = Index(neighbours[latent, i])
            for k in range(count):
                x[i, lane + k] = values[source, sample + k]
        for k in range(count):
            choice[lane + k] = biases[latent]
        lane, latent, sample = lane + count, latent + Index(1), Index(0)


@_compiled
def _predict(network: Any, act_max: Any, choice: Any, x: Any, y: Any) -> None:
    """Rounded means in y[0] and table rows in y[1] for inputs in x; both int32 (inputs, LANES), overwritten."""
    weights, offsets, shifts, head_weights, head_offsets, head_shifts = network
    fan_in = len(x)
    for depth in range(len(weights)):
        width = Index(offsets.shape[1])
        for neuron in range(width):
            for lane in range(Index(LANES)):
                y[neuron, lane] = offsets[depth, neuron]
        _add_layer(weights[depth], fan_in, x, y)
        shift = shifts[depth] & SHIFT_MASK
        for i in range(width):
            for lane in range(Index(LANES)):
                x[i, lane] = min(max(y[i, lane] >> shift, 0), act_max)
        fan_in = offsets.shape[1]
    for lane in range(Index(LANES)):
        y[0, lane] = head_offsets[choice[lane], 0]
        y[1, lane] = head_offsets[choice[lane], 1]
    _add_layer(head_weights, fan_in, x, y)
    mean_shift, scale_shift = head_shifts[0] & SHIFT_MASK, head_shifts[1] & SHIFT_MASK
    for lane in range(Index(LANES)):
        mean = min(max(y[0, lane] >> mean_shift, MEAN_MIN), MEAN_MAX) + MEAN_ORIGIN
        scale = min(max((y[1, lane] >> scale_shift) + SCALE_INDEX_OFFSET, 0), LAST_SCALE)
        y[0, lane] = mean >> MEAN_BITS
        y[1, lane] = (scale << MEAN_BITS) | (mean & LAST_MEAN)


@_compiled
def _read_slice(
    state: Any,
    words: Any,
    cumulative: Any,
    orders: Any,
    bounds: Any,
    neighbours: Any,
    biases: Any,
    network: Any,
    act_max: Any,
    act_frac_bits: Any,
    coded: Any,
) -> Any:
    """Latents of a slice, int32 (latents, samples), step by step into `coded`. False as above."""
    num_samples = coded.shape[1]
    values = np.zeros((len(coded) + 1, num_samples), np.int32)  # as contexts see them; a row of zeros at the end
    latents, flat_values = coded.reshape(-1), values.reshape(-1)
    x = np.zeros((neighbours.shape[1], LANES), np.int32)
    y = np.zeros((neighbours.shape[1], LANES), np.int32)
    choice = np.zeros(LANES, np.int64)
    widest = 0
    for step in range(len(bounds) - 1):
        widest = max(widest, (bounds[step + 1] - bounds[step]) * num_samples)
    all_rows, all_symbols = np.empty(widest, np.int32), np.empty(widest, np.int32)
    for step in range(len(bounds) - 1):
        begin, size = bounds[step] * num_samples, (bounds[step + 1] - bounds[step]) * num_samples
        centres, rows, symbols = latents[begin : begin + size], all_rows[:size], all_symbols[:size]
        for column in range(0, size, LANES):
            first, end = bounds[step], bounds[step + 1]
            _gather(values, neighbours[first:end], biases[first:end], column, x, choice)
            _predict(network, act_max, choice, x, y)
            count = min(LANES, size - column)
            for lane in range(count):
                centres[column + lane] = y[0, lane]
                rows[column + lane] = y[1, lane]
        if not _read(state, words, cumulative, rows, symbols):
            return False
        num_escaped = 0
        for index in range(Index(size)):
            symbol = symbols[index]
            magnitude = (symbol + 1) >> 1
            centres[index] += magnitude if symbol & 1 else -magnitude
            num_escaped += symbol == ESCAPE
        if num_escaped:
            scales, offsets = np.empty(num_escaped, np.int32), np.empty(num_escaped, np.int32)
            number = 0
            for index in range(size):
                if symbols[index] == ESCAPE:
                    scales[number] = rows[index] >> MEAN_BITS
                    number += 1
            if not _read_escapes(state, words, cumulative, orders, scales, offsets):
                return False
            number = 0
            for index in range(size):
                if symbols[index] == ESCAPE:
                    centres[index] += offsets[number] - TAIL_START
                    number += 1
        for index in range(Index(size)):
            value = np.int64(centres[index]) << act_frac_bits
            flat_values[Index(begin) + index] = min(max(value, -act_max), act_max)
    return True


def _packed(network: Sequence[QuantizedTensor], config: LatentConfig) -> tuple[np.ndarray, ...]:
    """int32 weights, offsets and shifts of all hidden layers, then of the output; roundings are in the offsets.

    Weights are padded with zeros to the inputs of the first layer; the offsets of the output are (biases, 2).
    """
    (layers,), _ = checked_layers([network], config)
    weights, offsets, shifts = zip(*layers, strict=True)
    rounded = [offset.T + ((np.int64(1) << shift) >> 1) for offset, shift in zip(offsets, shifts, strict=True)]
    size, inputs = config.context_size, _padded(config.context_size + config.coarser_size)
    wide = [np.pad(weight, ((0, 0), (0, inputs - weight.shape[1]))) for weight in weights]
    return (
        np.array(wide[:-1], np.int32).reshape(-1, size, inputs),
        np.array(rounded[:-1], np.int32).reshape(-1, size),
        np.array(shifts[:-1], np.int32),
        wide[-1].astype(np.int32),
        np.ascontiguousarray(rounded[-1], np.int32),
        shifts[-1].astype(np.int32),
    )


class CompiledDecoder(SliceDecoder):
    """The range decoder as compiled loops, and all latents of a slice in one call of them."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._words = payload_words(payload)
        first, second = np.append(self._words[:2], [0, 0])[:2].tolist()
        self._state = np.array([first << WORD_BITS | second, STATE_MASK, 2], np.uint64)

    def decode(self, rows: np.ndarray) -> np.ndarray:
        cumulative = np.cumsum(rows.astype(np.uint32) + 1, axis=1, dtype=np.uint32)
        symbols = np.empty(len(rows), np.int32)
        self._check(_read(self._state, self._words, cumulative, np.arange(len(rows), dtype=np.int32), symbols))
        return symbols

    def decode_slice(self, network: Sequence[QuantizedTensor], config: LatentConfig, coded: np.ndarray) -> None:
        plan = wavefront_of(config)
        done = _read_slice(
            self._state,
            self._words,
            _cumulative(),
            tables.golomb_orders(),
            plan.bounds,
            _neighbours(config),
            plan.grids if config.grid_biases else np.zeros_like(plan.grids),
            _packed(network, config),
            (1 << config.act_bits) - 1,
            config.act_frac_bits,
            coded,
        )
        self._check(done)

    @staticmethod
    def _check(done: bool) -> None:
        if not done:
            raise RddFormatError("range coder: the payload is not a sequence of symbols")

    def finish(self) -> None:
        difference, _, position = self._state.tolist()
        if position < len(self._words) or difference >= END_SLACK:
            raise RddFormatError("range coder: payload does not end with its last symbol")
