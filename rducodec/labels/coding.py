"""Soft labels to a payload and back: class by class in the order of their means so far (spec, "Soft labels")."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rducodec.labels.numbers import LEVEL_ORIGIN, LEVELS, NumberDecoder, NumberEncoder
from rducodec.labels.soft import SoftLabels

REST, SHARE, SKIP, FOUND = range(4)  # kinds of numbers
WORD_BYTES = 4
LEARNED_SAMPLES = 1024  # of a class; what later ones say changes its means no more

Number = Callable[[int, int, int, int], int]  # kind, level, limit, value if it is known: the value


def integer_log(value: int) -> int:
    """Eight times the logarithm to base 2 of a positive integer, linear between powers of 2 and rounded down."""
    exponent = value.bit_length() - 1
    return 8 * (exponent - 1) + ((8 * value) >> exponent)


def _integer_logs(values: np.ndarray) -> np.ndarray:
    """`integer_log` of int64 values below 2**53."""
    exponents = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    return 8 * (exponents - 1) + ((8 * values) >> exponents)


def _level(log: int) -> int:
    return min(max((log >> 2) + LEVEL_ORIGIN, 0), LEVELS - 1)


class _ClassModel:
    """What the samples of a class say about the next one; `scores` are below 2**34, their multiples below 2**52."""

    def __init__(self, label: int, num_classes: int, total: int) -> None:
        self._label, self._total = label, total
        self._scores = np.zeros(num_classes, np.int64)
        self._seen, self._rest = 0, 0
        self._prepare()

    def _prepare(self) -> None:
        """The order of the classes, and how much less than the others together each is expected to have."""
        num_classes = len(self._scores)
        order = np.argsort(-self._scores, kind="stable")
        order = order[: np.count_nonzero(self._scores)]
        weights = num_classes * self._scores[order] + self._total
        whole = num_classes * int(self._scores.sum()) + (num_classes - 1) * self._total
        left = whole - np.cumsum(weights) + weights
        # What the last class has is known without coding.
        self._shares = (_integer_logs(weights) - _integer_logs(left))[: num_classes - 2].tolist()
        self._order = order[: num_classes - 2].tolist()
        self._rest_level = _level(integer_log(4 * self._rest + self._total) - integer_log(4 * self._seen + 4))

    def code(self, number: Number, known: np.ndarray) -> list[tuple[int, int]]:
        """(class, count) for the counts that are not 0; `known`, int64 (classes,), is what an encoder writes."""
        total = self._total
        rest = number(REST, self._rest_level, total, total - int(known[self._label]))
        found = [(self._label, total - rest)]
        place = 0
        if rest:
            log = integer_log(rest)
            for label, share, value in zip(self._order, self._shares, known[self._order].tolist(), strict=True):
                place += 1
                count = number(SHARE, _level(log + share), rest, value)
                if count:
                    found.append((label, count))
                    rest -= count
                    if not rest:
                        break
                    log = integer_log(rest)
        if rest:
            found += self._code_unordered(number, known, rest, place)
        self._learn(found)
        return found

    def _code_unordered(self, number: Number, known: np.ndarray, rest: int, place: int) -> list[tuple[int, int]]:
        """The classes that no sample had so far (or the last one of all), by the gaps between counts above 0."""
        open_classes = np.ones(len(known), bool)
        open_classes[[self._label, *self._order[:place]]] = False
        labels = np.flatnonzero(open_classes)
        places = np.flatnonzero(known[labels]).tolist()
        found: list[tuple[int, int]] = []
        begin, left = 0, len(labels)
        while rest:
            if left > 1:
                next_place = places[len(found)] if places else begin
                gap = number(SKIP, _level(integer_log(left) - integer_log(rest)), left - 1, next_place - begin)
                begin, left = begin + gap, left - gap
            label, count = int(labels[begin]), rest
            if left > 1:
                level = _level(integer_log(rest) - integer_log(left))
                count = 1 + number(FOUND, level, rest - 1, int(known[label]) - 1)
            found.append((label, count))
            rest, begin, left = rest - count, begin + 1, left - 1
        return found

    def _learn(self, found: list[tuple[int, int]]) -> None:
        if self._seen == LEARNED_SAMPLES:
            return
        own, others = found[0], found[1:]
        for label, count in others:
            self._scores[label] += count
        self._rest += self._total - own[1]
        self._seen += 1
        self._prepare()


def encode_soft_labels(soft: SoftLabels, sizes: np.ndarray) -> bytes:
    """The payload of soft labels in the order of the file; `sizes` is the number of samples of each class."""
    encoder = NumberEncoder()
    first = 0
    for label, size in enumerate(sizes.tolist()):
        model = _ClassModel(label, len(sizes), soft.total) if size else None
        for row in soft.counts[first : first + size].astype(np.int64):
            assert model is not None
            model.code(encoder.number, row)
        first += size
    payload = encoder.finish()
    words = -(-len(payload.rstrip(b"\0")) // WORD_BYTES) or 1
    return payload[: WORD_BYTES * words]  # words of 0 at the end are read where there are none


def decode_soft_labels(payload: bytes | memoryview, total: int, sizes: np.ndarray) -> SoftLabels:
    """Inverse of `encode_soft_labels`. Raises RddFormatError."""
    decoder = NumberDecoder(payload)
    counts = np.zeros((int(sizes.sum()), len(sizes)), np.int32)
    unknown = np.zeros(len(sizes), np.int64)
    first = 0
    for label, size in enumerate(sizes.tolist()):
        model = _ClassModel(label, len(sizes), total) if size else None
        for row in counts[first : first + size]:
            assert model is not None
            for place, count in model.code(decoder.number, unknown):
                row[place] = count
        first += size
    decoder.finish()
    return SoftLabels(total, counts)
