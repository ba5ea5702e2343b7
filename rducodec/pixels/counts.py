"""Frequencies that are learned while numbers are coded: counts in contexts, refined level by level (spec, "Counts").

Whole batches update the counts at once, so the order within a batch does not matter. Integers are held in float64: a
slice has fewer than 2**28 numbers, so numerators stay below 2**53, and a quotient below 2**24 that is no integer is
further from one than it is rounded.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from rducodec.entropy import tables

FLOOR = 1 << 11  # least frequency of a letter: probability 2**-13
MAX_COUNT = 1 << 16  # a context with so many numbers has its counts halved
MASS_BITS = tables.UNIT_BITS + 1  # the masses of a Laplace row add up to 2**31
UNITS = tables.MEANS_PER_UNIT
REACH = UNITS * tables.ESCAPE  # the last column of the decay table: points further from the mean count as there


@cache
def _below() -> np.ndarray:
    """What of 2**24 lies below a point, for each scale index and the point's distance -480..480 to the mean; flat."""
    left = tables.decay()[:, :0:-1]
    right = (1 << MASS_BITS) - tables.decay()[:, 1:]
    whole = np.concatenate([left, tables.decay()[:, :1], right], axis=1)
    return (whole >> (MASS_BITS - tables.PRECISION)).astype(np.float64).reshape(-1)


class Counts:
    """How often each letter occurred in each context."""

    def __init__(self, num_contexts: int, num_letters: int, weight_bits: int) -> None:
        """What the level below says counts as much as 2**weight_bits numbers."""
        self._seen = np.zeros((num_contexts, num_letters))
        self._totals = np.zeros(num_contexts)  # sums of the rows
        self._weight = 1 << weight_bits

    def refine(self, frequencies: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """Frequencies (n, letters), float64, of sum at most 2**24, moved towards the counts of contexts (n,)."""
        seen = np.take(self._seen, contexts, axis=0)
        seen *= tables.TOTAL
        seen += frequencies * self._weight
        seen /= (np.take(self._totals, contexts) + self._weight)[:, None]
        return np.floor(seen, out=seen)

    def update(self, contexts: np.ndarray, letters: np.ndarray) -> None:
        """Count the numbers of a batch."""
        np.add.at(self._seen.reshape(-1), contexts * self._seen.shape[1] + letters, 1)
        np.add.at(self._totals, contexts, 1)
        for context in np.unique(contexts[np.take(self._totals, contexts) >= MAX_COUNT]).tolist():
            self._seen[context] = np.floor(self._seen[context] / 2)
            self._totals[context] = self._seen[context].sum()


def uniform_row(num_letters: int) -> np.ndarray:
    """Equal frequencies, float64 (letters,)."""
    return np.full(num_letters, float(tables.TOTAL // num_letters))


def laplace_rows(mean: np.ndarray, scale_index: np.ndarray, num_letters: int) -> np.ndarray:
    """Frequencies (n, letters), float64, of a Laplace distribution whose tails count for the first and the last letter.

    `mean` in units of 2**-5 and `scale_index`, int64 (n,).
    """
    edges = UNITS * np.arange(1, num_letters) - (mean[:, None] + UNITS // 2)  # between the letters
    np.minimum(np.maximum(edges, -REACH, out=edges), REACH, out=edges)
    edges += ((2 * REACH + 1) * scale_index + REACH)[:, None]
    below = np.empty((len(mean), num_letters + 1))
    below[:, 0], below[:, -1] = 0, tables.TOTAL
    below[:, 1:-1] = np.take(_below(), edges)
    return below[:, 1:] - below[:, :-1]


def coder_rows(frequencies: np.ndarray) -> np.ndarray:
    """Rows for the range coder, float32 frequencies - 1, with the floor and the sum that it needs."""
    num_letters = frequencies.shape[1]
    rows = np.floor(frequencies * ((tables.TOTAL - num_letters * FLOOR) / tables.TOTAL))
    rows += FLOOR - 1
    rows[:, 0] += tables.TOTAL - num_letters - rows.sum(axis=1)
    return rows.astype(np.float32)
