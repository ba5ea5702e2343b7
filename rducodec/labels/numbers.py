"""Bounded integers under adaptive contexts, one binary decision at a time (spec, "Soft labels", "Numbers").

The encoder collects decisions and hands them to the range coder in batches; the decoder, which learns from each one
before it can read the next, has the range coder inlined, in plain integers.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from rducodec.entropy.plain_coder import END_SLACK, STATE_BITS, STATE_MASK, WORD_BITS, WORD_MASK, payload_words
from rducodec.entropy.range_coder import RangeEncoder
from rducodec.entropy.tables import PRECISION, TOTAL
from rducodec.errors import RddFormatError

KINDS = 4  # of numbers
LEVELS = 64  # of what is expected of a number
MAX_DIGITS = 25  # binary digits of the largest number, 2**24
LEVEL_ORIGIN = 32  # level of an expectation of 1
LEARNED_DIGITS = 4  # digits below the leading one are learned while the digits before them are below this
START = 128  # a + b of a context at its beginning
STEP = 32  # what a decision adds: the beginning counts as much as four decisions
FULL = 1 << 16  # counts are halved when their sum exceeds this
FIXED_POINT = 18  # fractional bits of an expectation while contexts begin
HALF = TOTAL // 2
BATCH = 1 << 16  # decisions that go to the range coder together

SIZES = KINDS * LEVELS * MAX_DIGITS
_DIGITS_OF_KIND = (MAX_DIGITS + 1) * LEARNED_DIGITS


@cache
def _beginnings() -> tuple[int, ...]:
    """b of every context: those of sizes by kind, level and digit; then those of digits by kind, size and value."""
    sizes = []
    for level in range(LEVELS):
        expected = (5 + 2 * (level & 1)) << (level >> 1)
        for digit in range(MAX_DIGITS):
            half = 0 if digit == 0 else 1 << (FIXED_POINT - 1 + digit)
            sizes.append(1 + (START - 2) * (expected + half) // (expected + (1 << (FIXED_POINT + digit))))
    return (*sizes * KINDS, *[START // 2] * (KINDS * _DIGITS_OF_KIND))


def digit_context(kind: int, size: int) -> int:
    """Where the contexts of the digits of numbers of a kind and size begin; the digits before are added."""
    return SIZES + kind * _DIGITS_OF_KIND + size * LEARNED_DIGITS


class _Contexts:
    """Counts (a, b) of symbols 0 and 1 in every context; 1 <= a, 1 <= b, a + b <= 2**16."""

    def __init__(self) -> None:
        self.ones = list(_beginnings())
        self.zeros = [START - ones for ones in self.ones]


class NumberEncoder:
    """Writes what `NumberDecoder` reads."""

    def __init__(self) -> None:
        self._contexts = _Contexts()
        self._coder = RangeEncoder()
        self._symbols: list[int] = []
        self._frequencies: list[int] = []

    def number(self, kind: int, level: int, limit: int, value: int) -> int:
        """Write `value`, 0 .. limit, and return it."""
        size = value.bit_length()
        first = (kind * LEVELS + level) * MAX_DIGITS
        for digit in range(limit.bit_length()):
            self._decide(first + digit, int(digit < size))
            if digit == size:
                break
        digits = digit_context(kind, size)
        for place in range(size - 2, -1, -1):
            before = value >> (place + 1)
            if (2 * before + 1) << place > limit:
                continue
            symbol = value >> place & 1
            if before < LEARNED_DIGITS:
                self._decide(digits + before, symbol)
            else:
                self._write(symbol, HALF)
        return value

    def _decide(self, context: int, symbol: int) -> None:
        zeros, ones = self._contexts.zeros, self._contexts.ones
        self._write(symbol, (zeros[context] << PRECISION) // (zeros[context] + ones[context]))
        (ones if symbol else zeros)[context] += STEP
        if zeros[context] + ones[context] > FULL:
            zeros[context], ones[context] = (zeros[context] + 1) >> 1, (ones[context] + 1) >> 1

    def _write(self, symbol: int, frequency: int) -> None:
        self._symbols.append(symbol)
        self._frequencies.append(frequency)
        if len(self._symbols) == BATCH:
            self._flush()

    def _flush(self) -> None:
        first = np.array(self._frequencies, np.float32)
        rows = np.stack([first - 1, TOTAL - first - 1], axis=1)
        self._coder.encode(np.array(self._symbols, np.int32), rows)
        self._symbols, self._frequencies = [], []

    def finish(self) -> bytes:
        """The whole payload."""
        self._flush()
        return self._coder.finish()


class NumberDecoder:
    """Reads numbers from a payload.

    Of the range coder's state, `_offset` is (point - lower) mod 2**64; `_range` >= 2**32 between decisions.
    """

    def __init__(self, payload: bytes | memoryview) -> None:
        self._contexts = _Contexts()
        self._words = payload_words(payload).tolist()
        padded = [*self._words, 0, 0]
        self._offset, self._read = (padded[0] << WORD_BITS) | padded[1], 2
        self._range = STATE_MASK

    def number(self, kind: int, level: int, limit: int, _: int = 0) -> int:
        """Read a number of 0 .. limit. RddFormatError where no symbol fits the payload."""
        first = (kind * LEVELS + level) * MAX_DIGITS
        size, digits = 0, limit.bit_length()
        while size < digits and self._decide(first + size):
            size += 1
        if size < 2:
            return size
        value, context = 1, digit_context(kind, size)
        for place in range(size - 2, -1, -1):
            value *= 2
            if (value + 1) << place > limit:
                continue
            before = value >> 1
            value += self._decide(context + before) if before < LEARNED_DIGITS else self._symbol(HALF)
        return value

    def _decide(self, context: int) -> int:
        zeros, ones = self._contexts.zeros, self._contexts.ones
        a, b = zeros[context], ones[context]
        symbol = self._symbol((a << PRECISION) // (a + b))
        if symbol:
            b += STEP
        else:
            a += STEP
        if a + b > FULL:
            a, b = (a + 1) >> 1, (b + 1) >> 1
        zeros[context], ones[context] = a, b
        return symbol

    def _symbol(self, frequency: int) -> int:
        scale = self._range >> PRECISION
        split = scale * frequency
        if self._offset < split:
            symbol, self._range = 0, split
        elif self._offset >= scale << PRECISION:
            raise RddFormatError("range coder: the payload is not a sequence of symbols")
        else:
            symbol, self._range = 1, (scale << PRECISION) - split
            self._offset -= split
        if self._range <= WORD_MASK:
            word = self._words[self._read] if self._read < len(self._words) else 0
            self._read += 1
            self._offset = ((self._offset << WORD_BITS) & STATE_MASK) | word
            self._range <<= WORD_BITS
        return symbol

    def finish(self) -> None:
        """Raise RddFormatError unless the payload ends with the last number read."""
        if self._read < len(self._words) or self._offset >= END_SLACK:
            raise RddFormatError("range coder: payload does not end with its last symbol")


assert STATE_BITS == 2 * WORD_BITS
