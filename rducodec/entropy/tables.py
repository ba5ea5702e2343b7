"""Integer frequency tables of the discretised Laplace distribution (spec, "Frequency tables").

Every coded symbol uses a row of 16 frequencies that sum to 2**24. A row is held as float32 `frequency - 1`,
which is exact and is the form in which the range coder takes it.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

import numpy as np

PRECISION = 24  # bits of a frequency table
TOTAL = 1 << PRECISION
FLOOR = 512  # least frequency of a symbol: probability 2**-15
ALPHABET = 16
ESCAPE = ALPHABET - 1  # the symbol for "not in this alphabet"
OFFSET_REACH = 7  # offsets -7..7 have a symbol of their own
NUM_SCALES = 155
SCALE_ORIGIN = 74  # scale index of b = 1
SCALES_PER_NEPER = 16  # grid points per factor e of the Laplace scale
MEANS_PER_UNIT = 32  # sub-integer means per latent unit
NUM_MEANS = 32
MEAN_ORIGIN = 16  # mean index of a mean of 0
UNIT_BITS = 30  # fractional bits of the decay table

# Offset of each primary symbol: 0, 1, -1, 2, -2, ... The likely ones come first, so a lazy search ends early.
SYMBOL_OFFSETS = np.array([0, *(s * k for k in range(1, OFFSET_REACH + 1) for s in (1, -1))], np.int32)


@cache
def _constants() -> tuple[tuple[int, ...], tuple[int, ...]]:
    text = resources.files(__package__).joinpath("laplace_constants.csv").read_text("ascii")
    rows = list(csv.DictReader(text.splitlines()))
    return tuple(int(r["ratio"]) for r in rows), tuple(int(r["golomb_order"]) for r in rows)


@cache
def golomb_orders() -> np.ndarray:
    """Exp-Golomb order of far tails for each scale index, int64, shape (155,)."""
    return np.array(_constants()[1], np.int64)


@cache
def decay() -> np.ndarray:
    """decay[i, n] = exp(-n / (32 b_i)) in units of 2**-30, int64, shape (155, 481)."""
    ratios = np.array(_constants()[0], np.int64)
    steps = MEANS_PER_UNIT * ESCAPE
    decay = np.empty((NUM_SCALES, steps + 1), np.int64)
    decay[:, 0] = 1 << UNIT_BITS
    for n in range(steps):
        decay[:, n + 1] = (decay[:, n] * ratios + (1 << 31)) >> 32
    return decay


def _frequencies(mass: np.ndarray, mass_bits: int) -> np.ndarray:
    """Frequencies for rows of masses that sum to 2**mass_bits; what rounding leaves over goes to symbol 0."""
    frequencies = FLOOR + ((mass * (TOTAL - ALPHABET * FLOOR)) >> mass_bits)
    frequencies[..., 0] += TOTAL - frequencies.sum(axis=-1)
    return frequencies


@cache
def primary_table() -> np.ndarray:
    """Frequencies - 1 of the primary symbols, float32, shape (155 * 32, 16); row = 32 * scale + mean index."""
    lengths = decay()
    mean = np.arange(NUM_MEANS)[:, None] - MEAN_ORIGIN  # (32, 1)
    centre = MEANS_PER_UNIT * SYMBOL_OFFSETS[None, :].astype(np.int64) - mean  # (32, 15)

    def cumulative(n: np.ndarray) -> np.ndarray:  # twice the Laplace distribution function, in units of 2**-30
        tail = lengths[:, np.abs(n)]  # (155, 32, 15)
        return np.where(n <= 0, tail, (2 << UNIT_BITS) - tail)

    half = MEANS_PER_UNIT // 2
    mass = cumulative(centre + half) - cumulative(centre - half)
    escape = (2 << UNIT_BITS) - mass.sum(axis=-1, keepdims=True)
    frequencies = _frequencies(np.concatenate([mass, escape], axis=-1), UNIT_BITS + 1)
    return (frequencies.reshape(-1, ALPHABET) - 1).astype(np.float32)


@cache
def primary_bits() -> np.ndarray:
    """Bits of each primary symbol, float64, shape (155 * 32, 16)."""
    return PRECISION - np.log2(primary_table().astype(np.float64) + 1)


@cache
def tail_table() -> np.ndarray:
    """Frequencies - 1 of |offset| - 8 = 0..14 and a second escape, float32, shape (155, 16)."""
    edges = decay()[:, ::MEANS_PER_UNIT]  # (155, 16): decay over whole units 0..15
    mass = np.concatenate([edges[:, :-1] - edges[:, 1:], edges[:, -1:]], axis=-1)
    return (_frequencies(mass, UNIT_BITS) - 1).astype(np.float32)


@cache
def exponent_row() -> np.ndarray:
    """Frequencies - 1 of an Exp-Golomb prefix length 0..15: a half, a quarter, ...; float32, shape (16,)."""
    halves = [TOTAL >> (n + 1) for n in range(ALPHABET - 1)]
    return np.array([*halves, halves[-1]], np.float32) - 1


@cache
def bit_row() -> np.ndarray:
    """Frequencies - 1 of one equiprobable bit, float32, shape (2,)."""
    return np.array([TOTAL // 2, TOTAL // 2], np.float32) - 1
