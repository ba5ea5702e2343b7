"""Labels of a dataset: how many samples each class has, the order of the source, and soft labels (spec, "Labels")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rducodec.errors import RddInputError
from rducodec.labels.soft import MAX_TOTAL, MIN_SOFT_CLASSES, SoftLabels

BYTE_CLASSES = 256  # up to this many classes, a label of an ordered list takes one byte
MAX_CLASSES = (1 << 16) - 1


@dataclass(frozen=True)
class Labels:
    """Labels of all samples.

    `counts` is int64 (classes,). `order` is None where samples come class after class, or the int64 label of
    every sample (samples,) in the order of the source. `soft` has a soft label for every sample as it is delivered.
    """

    counts: np.ndarray
    order: np.ndarray | None = None
    soft: SoftLabels | None = None

    @property
    def num_samples(self) -> int:
        """Samples of all classes."""
        return int(self.counts.sum())

    def sequence(self) -> np.ndarray:
        """int64 label of every sample as a reader delivers them."""
        return np.repeat(np.arange(len(self.counts)), self.counts) if self.order is None else self.order

    def file_positions(self) -> np.ndarray:
        """int64: for each delivered sample, its place in the class-after-class order of the file."""
        if self.order is None:
            return np.arange(self.num_samples)
        return np.argsort(np.argsort(self.order, kind="stable"), kind="stable")


def check_soft_labels(labels: Labels) -> None:
    """Raises RddInputError, naming index and value, for soft labels that a file cannot hold; hard ones pass."""
    soft, classes = labels.soft, len(labels.counts)
    if soft is None:
        return
    if classes < MIN_SOFT_CLASSES or not 1 <= soft.total <= MAX_TOTAL:
        raise RddInputError(
            f"soft labels: {classes} classes and a total of {soft.total}, "
            f"at least {MIN_SOFT_CLASSES} and 1..{MAX_TOTAL} expected"
        )
    if soft.counts.dtype.kind not in "iu" or soft.counts.shape != (labels.num_samples, classes):
        found = f"{soft.counts.dtype} of shape {soft.counts.shape}"
        raise RddInputError(f"soft labels: {found}, integers ({labels.num_samples}, {classes}) expected")
    wrong = (soft.counts < 0) | (soft.counts > soft.total)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise RddInputError(f"soft labels: the count at {list(place)} is {soft.counts[place]}, allowed 0..{soft.total}")
    sums = soft.counts.sum(axis=1, dtype=np.int64)
    if (sums != soft.total).any():
        index = int(np.argmax(sums != soft.total))
        raise RddInputError(f"soft labels: label {index} adds up to {sums[index]}, not to {soft.total}")


def run_lengths(values: np.ndarray) -> list[tuple[int, int]]:
    """(value, run) pairs of neighbouring equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1)) if len(values) else np.empty(0, np.int64)
    runs = np.diff(np.append(starts, len(values)))
    return list(zip(values[starts].tolist(), runs.tolist(), strict=True))


def order_dtype(num_classes: int) -> np.dtype:
    """Type of the numbers in the ordered list of labels of a file."""
    return np.dtype("u1" if num_classes <= BYTE_CLASSES else "<u2")
