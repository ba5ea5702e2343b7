"""Soft labels as integers on a simplex, and what of real probabilities they keep (spec, "Soft labels")."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

MAX_TOTAL = 1 << 24  # so that every count, and every total, is a float32
MIN_SOFT_CLASSES = 2  # with one class there is nothing to say
DEFAULT_ERROR = 2.0**-8
_ROWS_AT_ONCE = 1 << 22  # numbers that are sorted together


@dataclass(frozen=True)
class SoftLabels:
    """A soft label for each sample: `counts` int32 (samples, classes), each row >= 0 with the sum `total`.

    The probability of a class is its count over `total`, 1 .. 2**24.
    """

    total: int
    counts: np.ndarray

    def probabilities(self) -> np.ndarray:
        """float32 (samples, classes): each count over the total, correctly rounded once."""
        return np.divide(self.counts, np.float32(self.total), dtype=np.float32)

    def digest(self) -> bytes:
        """SHA-256 of the total, then of all counts, as u32; for rows in the order of the file."""
        whole = hashlib.sha256(self.total.to_bytes(4, "little"))
        whole.update(np.ascontiguousarray(self.counts, "<u4").data)
        return whole.digest()


def error_bound(total: int, num_classes: int) -> float:
    """The most by which a count over `total` differs from the probability that `quantize_labels` made it of."""
    return (1 - 1 / num_classes) / total


def total_for(error: float, num_classes: int) -> int:
    """The least total whose `error_bound` is at most `error`, a number above 0. ValueError beyond 2**24.

    >>> total_for(2**-8, 10), total_for(2**-8, 1000)
    (231, 256)
    """
    if not error > 0 or (1 - 1 / num_classes) / error > MAX_TOTAL:
        raise ValueError(f"label error {error}: at least {error_bound(MAX_TOTAL, num_classes):.3g} expected")
    return max(1, math.ceil((1 - 1 / num_classes) / error))


def published_bound_bits(total: int, num_classes: int) -> float:
    """Bits of one soft label by Eq. 17 of the paper, at the error of `total`: (K - 1) log2(1 / error)."""
    return (num_classes - 1) * -math.log2(error_bound(total, num_classes))


def quantize_labels(probabilities: np.ndarray, total: int) -> SoftLabels:
    """Probabilities (samples, classes), rows >= 0 of a positive sum, as counts: largest remainders are rounded up.

    No point of the lattice has a smaller sum of squared differences; none differs by more than `error_bound`.
    """
    counts = np.empty(probabilities.shape, np.int32)
    step = max(1, _ROWS_AT_ONCE // probabilities.shape[1])
    for begin in range(0, len(counts), step):
        part = probabilities[begin : begin + step].astype(np.float64)
        exact = part / part.sum(axis=1, keepdims=True) * total
        whole = np.floor(exact)
        missing = total - whole.sum(axis=1)
        rank = np.argsort(np.argsort(whole - exact, axis=1, kind="stable"), axis=1, kind="stable")
        counts[begin : begin + step] = whole + (rank < missing[:, None])
    return SoftLabels(total, counts)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities float64 of logits (samples, classes) divided by a temperature above 0."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def keep_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest probabilities of each row, of equal ones the first, divided by their sum; the others 0."""
    rank = np.argsort(np.argsort(-probabilities, axis=1, kind="stable"), axis=1, kind="stable")
    kept = np.where(rank < count, probabilities, 0.0)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))
