"""The labels section of a file (spec, "Labels section")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rducodec.bitstream import zstd
from rducodec.bitstream.varint import pack_varint, unpack_varint
from rducodec.errors import RddDigestError, RddFormatError
from rducodec.labels.coding import decode_soft_labels, encode_soft_labels
from rducodec.labels.hard import Labels, order_dtype, run_lengths
from rducodec.labels.soft import MAX_TOTAL, MIN_SOFT_CLASSES, SoftLabels

KEEPS_ORDER = 1  # bit of the kind: samples have the order of the source; otherwise they are a set, class after class
HAS_SOFT = 2  # bit of the kind: every sample has a soft label
MAX_KIND = KEEPS_ORDER + HAS_SOFT
LABEL_CHECK_BYTES = 4
SECTION = "labels section"


@dataclass(frozen=True)
class SoftSection:
    """Soft labels as they are stored."""

    total: int
    check: bytes  # first bytes of the digest of the decoded ones
    payload: bytes

    @property
    def num_bytes(self) -> int:
        """Bytes of the section that only soft labels need."""
        return len(pack_varint(self.total)) + LABEL_CHECK_BYTES + len(self.payload)

    def decode(self, labels: Labels) -> tuple[SoftLabels, bytes]:
        """Soft labels as they are delivered, and their digest. Raises RddFormatError, RddDigestError."""
        try:
            stored = decode_soft_labels(self.payload, self.total, labels.counts)
        except RddFormatError as error:
            raise RddFormatError(f"{SECTION}: soft labels: {error}") from error
        digest = stored.digest()
        if digest[:LABEL_CHECK_BYTES] != self.check:
            raise RddDigestError(f"{SECTION}: the decoded soft labels are not those that the file promises")
        return SoftLabels(self.total, stored.counts[labels.file_positions()]), digest


def in_file_order(labels: Labels) -> SoftLabels | None:
    """Soft labels class after class, as a file has them."""
    if labels.soft is None:
        return None
    counts = np.empty_like(labels.soft.counts)
    counts[labels.file_positions()] = labels.soft.counts
    return SoftLabels(labels.soft.total, counts)


def label_digest(labels: Labels) -> bytes:
    """The digest of the soft labels; nothing where there are none."""
    stored = in_file_order(labels)
    return b"" if stored is None else stored.digest()


def pack_labels(labels: Labels) -> bytes:
    """The labels section."""
    kind = (KEEPS_ORDER if labels.order is not None else 0) + (HAS_SOFT if labels.soft is not None else 0)
    section = bytes([kind])
    section += b"".join(pack_varint(count) + pack_varint(run) for count, run in run_lengths(labels.counts))
    if labels.order is not None:
        frame = zstd.compress(labels.order.astype(order_dtype(len(labels.counts))).tobytes())
        section += (pack_varint(len(frame)) if labels.soft is not None else b"") + frame
    stored = in_file_order(labels)
    if stored is not None:
        section += pack_varint(stored.total) + stored.digest()[:LABEL_CHECK_BYTES]
        section += encode_soft_labels(stored, labels.counts)
    return section


def _unpack_counts(section: bytes | memoryview, num_classes: int, num_samples: int) -> tuple[np.ndarray, int]:
    """Samples of each class, and where the field ends."""
    counts = np.zeros(num_classes, np.int64)
    offset, done, total, previous = 1, 0, 0, -1
    while done < num_classes:
        count, offset = unpack_varint(section, offset, SECTION)
        run, offset = unpack_varint(section, offset, SECTION)
        if not 1 <= run <= num_classes - done or count == previous:
            raise RddFormatError(f"{SECTION} at byte {offset}: run of {run} classes after {done} of {num_classes}")
        total += count * run
        if total > num_samples:
            raise RddFormatError(f"{SECTION} at byte {offset}: {total} samples, the header has {num_samples}")
        counts[done : done + run] = count
        done, previous = done + run, count
    if total != num_samples:
        raise RddFormatError(f"{SECTION}: {total} samples, the header has {num_samples}")
    return counts, offset


def _unpack_order(frame: bytes | memoryview, counts: np.ndarray) -> np.ndarray:
    dtype = order_dtype(len(counts))
    order = np.frombuffer(zstd.decompress(frame, int(counts.sum()) * dtype.itemsize, SECTION), dtype).astype(np.int64)
    if order.max() >= len(counts) or not np.array_equal(np.bincount(order, minlength=len(counts)), counts):
        raise RddFormatError(f"{SECTION}: the ordered labels do not have the stated counts")
    return order


def _unpack_soft(section: bytes | memoryview, offset: int, num_classes: int) -> SoftSection:
    if num_classes < MIN_SOFT_CLASSES:
        raise RddFormatError(f"{SECTION}: kind {section[0]}, soft labels, with {num_classes} class")
    total, offset = unpack_varint(section, offset, f"{SECTION} of kind {section[0]}")
    if not 1 <= total <= MAX_TOTAL:
        raise RddFormatError(f"{SECTION} at byte {offset}: soft labels of the sum {total}, expected 1..{MAX_TOTAL}")
    end = offset + LABEL_CHECK_BYTES
    if len(section) <= end:
        raise RddFormatError(f"{SECTION} at byte {offset}: {len(section) - offset} bytes are no soft labels")
    return SoftSection(total, bytes(section[offset:end]), bytes(section[end:]))


def unpack_labels(section: bytes | memoryview, num_classes: int, num_samples: int) -> tuple[Labels, SoftSection | None]:
    """Labels of a section that must describe this many classes and samples, and soft ones, not decoded yet.

    Raises RddFormatError.
    """
    if not len(section) or section[0] > MAX_KIND:
        found = section[0] if len(section) else "missing"
        raise RddFormatError(f"{SECTION}: kind {found}, 0..{MAX_KIND} expected")
    keeps_order, has_soft = section[0] & KEEPS_ORDER, section[0] & HAS_SOFT
    counts, offset = _unpack_counts(section, num_classes, num_samples)
    order = None
    if keeps_order:
        end = len(section)
        if has_soft:
            size, offset = unpack_varint(section, offset, SECTION)
            end = offset + size
        if end > len(section):
            raise RddFormatError(f"{SECTION} at byte {offset}: an order of {end - offset} bytes is cut off")
        order = _unpack_order(section[offset:end], counts)
        offset = end
    labels = Labels(counts, order)
    if has_soft:
        return labels, _unpack_soft(section, offset, num_classes)
    if offset != len(section):
        raise RddFormatError(f"{SECTION} at byte {offset}: {len(section) - offset} bytes too many")
    return labels, None
