"""Hard labels: how many samples each class has, and the order of the source (spec, "Labels")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rducodec.bitstream import zstd
from rducodec.bitstream.varint import pack_varint, unpack_varint
from rducodec.errors import RddFormatError

KIND_COUNTS = 0  # samples are a set: class after class
KIND_ORDERED = 1  # the order of the source is kept
BYTE_CLASSES = 256  # up to this many classes, a label of an ordered list takes one byte
MAX_CLASSES = (1 << 16) - 1


@dataclass(frozen=True)
class Labels:
    """Labels of all samples.

    `counts` is int64 (classes,). `order` is None where samples come class after class, or the int64 label of
    every sample (samples,) in the order of the source.
    """

    counts: np.ndarray
    order: np.ndarray | None = None

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


def run_lengths(values: np.ndarray) -> list[tuple[int, int]]:
    """(value, run) pairs of neighbouring equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1)) if len(values) else np.empty(0, np.int64)
    runs = np.diff(np.append(starts, len(values)))
    return list(zip(values[starts].tolist(), runs.tolist(), strict=True))


def _order_dtype(num_classes: int) -> np.dtype:
    return np.dtype("u1" if num_classes <= BYTE_CLASSES else "<u2")


def pack_labels(labels: Labels) -> bytes:
    """The labels section."""
    kind = KIND_COUNTS if labels.order is None else KIND_ORDERED
    runs = b"".join(pack_varint(count) + pack_varint(run) for count, run in run_lengths(labels.counts))
    if labels.order is None:
        return bytes([kind]) + runs
    return bytes([kind]) + runs + zstd.compress(labels.order.astype(_order_dtype(len(labels.counts))).tobytes())


def unpack_labels(section: bytes | memoryview, num_classes: int, num_samples: int) -> Labels:
    """Labels of a section that must describe this many classes and samples. Raises RddFormatError."""
    if not len(section) or section[0] not in (KIND_COUNTS, KIND_ORDERED):
        raise RddFormatError(f"labels section: kind {section[0] if len(section) else 'missing'}, 0 or 1 expected")
    counts = np.zeros(num_classes, np.int64)
    offset, done, total, previous = 1, 0, 0, -1
    while done < num_classes:
        count, offset = unpack_varint(section, offset, "labels section")
        run, offset = unpack_varint(section, offset, "labels section")
        if not 1 <= run <= num_classes - done or count == previous:
            raise RddFormatError(f"labels section at byte {offset}: run of {run} classes after {done} of {num_classes}")
        total += count * run
        if total > num_samples:
            raise RddFormatError(f"labels section at byte {offset}: {total} samples, the header has {num_samples}")
        counts[done : done + run] = count
        done, previous = done + run, count
    if total != num_samples:
        raise RddFormatError(f"labels section: {total} samples, the header has {num_samples}")
    if section[0] == KIND_COUNTS:
        if offset != len(section):
            raise RddFormatError(f"labels section at byte {offset}: {len(section) - offset} bytes too many")
        return Labels(counts)
    dtype = _order_dtype(num_classes)
    content = zstd.decompress(section[offset:], total * dtype.itemsize, "labels section")
    order = np.frombuffer(content, dtype).astype(np.int64)
    if order.max() >= num_classes or not np.array_equal(np.bincount(order, minlength=num_classes), counts):
        raise RddFormatError("labels section: the ordered labels do not have the stated counts")
    return Labels(counts, order)
