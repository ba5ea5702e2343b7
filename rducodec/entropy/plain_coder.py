"""The range coder in plain Python integers (spec, "Range coder"), and the interface of every range coder.

State: `lower` and `range` of 64 bits; range >= 2**32 between symbols. Words have 32 bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from itertools import accumulate

import numpy as np

from rducodec.entropy.tables import PRECISION
from rducodec.errors import RddFormatError

WORD_BITS = 32
WORD_MASK = (1 << WORD_BITS) - 1
STATE_BITS = 64
STATE_MASK = (1 << STATE_BITS) - 1
END_SLACK = (1 << (WORD_BITS + 1)) - 1  # after the last symbol, point - lower is below this


def payload_words(payload: bytes | memoryview) -> np.ndarray:
    """The uint32 words of a payload. RddFormatError for part of a word."""
    if len(payload) % 4:
        raise RddFormatError(f"range coder: payload of {len(payload)} bytes, a multiple of 4 expected")
    return np.frombuffer(payload, "<u4").astype(np.uint32)


def payload_bytes(words: np.ndarray) -> bytes:
    """Inverse of `payload_words`."""
    return words.astype("<u4").tobytes()


class Encoder(ABC):
    """Writes symbols of given frequencies into 32-bit little-endian words."""

    @abstractmethod
    def encode(self, symbols: np.ndarray, rows: np.ndarray) -> None:
        """Write `symbols` (n,) under `rows` (n, alphabet): float32 frequencies - 1, each row summing to 2**24."""

    @abstractmethod
    def finish(self) -> bytes:
        """The whole payload; nothing can be encoded after it."""


class Decoder(ABC):
    """Reads what an `Encoder` wrote."""

    @abstractmethod
    def decode(self, rows: np.ndarray) -> np.ndarray:
        """int32 symbols (n,) for `rows` (n, alphabet); RddFormatError where no symbol fits the payload."""

    @abstractmethod
    def finish(self) -> None:
        """Raise RddFormatError unless the payload ends with the last symbol read."""


class PlainEncoder(Encoder):
    """Carries are resolved by big-integer addition into the words already written."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._lower = 0
        self._range = STATE_MASK

    def encode(self, symbols: np.ndarray, rows: np.ndarray) -> None:
        for symbol, row in zip(symbols.tolist(), rows.tolist(), strict=True):
            scale = self._range >> PRECISION
            self._lower += scale * sum(int(f) + 1 for f in row[:symbol])
            self._range = scale * (int(row[symbol]) + 1)
            if self._lower > STATE_MASK:
                self._lower &= STATE_MASK
                self._carry()
            if self._range <= WORD_MASK:
                self._words.append(self._lower >> WORD_BITS)
                self._lower = (self._lower << WORD_BITS) & STATE_MASK
                self._range <<= WORD_BITS

    def _carry(self) -> None:
        index = len(self._words) - 1
        while self._words[index] == WORD_MASK:
            self._words[index] = 0
            index -= 1
        self._words[index] += 1

    def finish(self) -> bytes:
        if self._range == STATE_MASK:
            return b""  # nothing was encoded
        point = self._lower + WORD_MASK
        if point > STATE_MASK:
            self._carry()
        last = (point & STATE_MASK) >> WORD_BITS
        self._words.append(last)
        if ((self._lower + self._range) & STATE_MASK) >> WORD_BITS == last:
            self._words.append(0)  # the next word must not be taken for larger than 0
        return payload_bytes(np.array(self._words, np.uint32))


class PlainDecoder(Decoder):
    """One symbol at a time, by bisection."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._words = payload_words(payload).tolist()
        self._position = 0
        self._lower = 0
        self._range = STATE_MASK
        self._point = (self._next() << WORD_BITS) | self._next()

    def _next(self) -> int:
        word = self._words[self._position] if self._position < len(self._words) else 0
        self._position += 1
        return word

    def decode(self, rows: np.ndarray) -> np.ndarray:
        return np.array([self._symbol(row) for row in rows.tolist()], np.int32)

    def _symbol(self, row: list[float]) -> int:
        scale = self._range >> PRECISION
        quantile = ((self._point - self._lower) & STATE_MASK) // scale
        if quantile >> PRECISION:
            raise RddFormatError("range coder: the payload is not a sequence of symbols")
        uppers = list(accumulate(int(f) + 1 for f in row))
        symbol = bisect_right(uppers, quantile)
        upper = uppers[symbol]
        frequency = int(row[symbol]) + 1
        self._lower = (self._lower + scale * (upper - frequency)) & STATE_MASK
        self._range = scale * frequency
        if self._range <= WORD_MASK:
            self._lower = (self._lower << WORD_BITS) & STATE_MASK
            self._range <<= WORD_BITS
            self._point = ((self._point << WORD_BITS) & STATE_MASK) | self._next()
        return symbol

    def finish(self) -> None:
        unread = self._position < len(self._words)
        if unread or (self._point - self._lower) & STATE_MASK >= END_SLACK:
            raise RddFormatError("range coder: payload does not end with its last symbol")
