"""The test vectors of soft labels, those that a decoder must read and those that it must refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

import rducodec
from rducodec import raw, writer
from rducodec.bitstream.varint import pack_varint
from rducodec.labels import MAX_TOTAL, SoftLabels, pack_labels, quantize_labels
from spec.vector_tools import (
    CORRUPT,
    TOO_LARGE,
    WRONG_SAMPLES,
    Invalid,
    Vector,
    latent_file,
    resealed,
    sections_of,
    tiny_config,
    with_sections,
)

ERROR_256 = 256  # a total for errors of about 2^-8
BITS = rducodec.RawConfig(is_float=False, bits=1)
MANY_CLASSES = 65535
LARGE_CLASSES = 21841  # of the largest published data sets


def soft(rng: np.random.Generator, classes: np.ndarray, num_classes: int, total: int, spread: float) -> SoftLabels:
    """Random soft labels of which the class of the sample has the largest count, or nearly."""
    probabilities = rng.dirichlet([spread] * num_classes, len(classes))
    probabilities[np.arange(len(classes)), classes] += 0.5
    return quantize_labels(probabilities, total)


def _labels(order: np.ndarray, num_classes: int, soft_labels: SoftLabels, *, keeps_order: bool) -> rducodec.Labels:
    counts = np.bincount(order, minlength=num_classes)
    return rducodec.Labels(counts, order if keeps_order else None, soft_labels)


def _bits_file(rng: np.random.Generator, labels: rducodec.Labels) -> bytes:
    """A file of samples of one bit with these labels."""
    samples = rng.integers(0, 2, (labels.num_samples, 1, 1, 1)).astype(np.uint8)
    samples[:2, 0, 0, 0] = [0, 1]
    return rducodec.pack_raw(samples, labels, BITS)


def valid_soft_labels() -> Iterator[Vector]:
    """Soft labels of every kind: few and many classes, all totals, an order, contexts and means that are full."""
    rng = np.random.default_rng(110)
    order = np.array([1, 0, 2, 1, 1, 0])
    given = soft(rng, np.sort(order), 4, 231, 0.5)
    yield "soft-labels", latent_file(tiny_config(), [2, 3, 1], _labels(order, 4, given, keeps_order=False), 111)
    given = soft(rng, order, 4, 231, 0.5)
    yield "soft-ordered", latent_file(tiny_config(), [2, 3, 1], _labels(order, 4, given, keeps_order=True), 112)
    cases = (
        ("two-classes", 2, ERROR_256, 40, 0.5),
        ("total-1", 5, 1, 30, 0.5),
        ("total-2", 5, 2, 30, 0.5),
        ("total-3", 5, 3, 30, 2.0),
        ("total-2-24", 5, MAX_TOTAL, 30, 0.5),
        ("total-2-24-flat", 3, MAX_TOTAL, 30, 20.0),
        ("total-65535", 7, 65535, 40, 0.3),
        ("flat", 60, ERROR_256, 25, 20.0),
        ("sparse", 300, ERROR_256, 40, 0.01),
        ("even", 300, 3000, 3, 50.0),
    )
    for name, num_classes, total, count, spread in cases:
        order = rng.integers(0, num_classes, count) % 6
        order[0] = num_classes - 1
        labels = _labels(order, num_classes, soft(rng, order, num_classes, total, spread), keeps_order=True)
        yield f"soft-{name}", _bits_file(rng, labels)
    order = rng.integers(0, 2, 40)
    wrong = soft(rng, 1 - order, 3, ERROR_256, 0.5)  # the hard label is not that of the largest count
    yield "soft-other-class", _bits_file(rng, _labels(order, 3, wrong, keeps_order=True))
    hard = SoftLabels(ERROR_256, np.eye(3, dtype=np.int32)[order] * ERROR_256)
    yield "soft-one-hot", _bits_file(rng, _labels(order, 3, hard, keeps_order=True))
    order = np.zeros(2400, np.int64)  # more than a class learns from, and more than a context counts
    given = soft(rng, order, 3, 9, 0.3)
    given.counts[1024:1100] = [0, 0, 9]  # would change the order of the classes if it were learned
    yield "soft-full", _bits_file(rng, _labels(order, 3, given, keeps_order=False))
    yield "soft-large-classes", _large_classes(rng)


def _large_classes(rng: np.random.Generator) -> bytes:
    """Very many classes, of which a label has a few."""
    order = np.array([0, 0, 15000, 15000, LARGE_CLASSES - 1])
    counts = np.zeros((len(order), LARGE_CLASSES), np.int32)
    for row, label in zip(counts, order, strict=True):
        row[rng.integers(0, LARGE_CLASSES, 5)] += 10
        row[[label, LARGE_CLASSES - 1]] += 30
        row[label] += 200 - row.sum()
    return _bits_file(rng, _labels(order, LARGE_CLASSES, SoftLabels(200, counts), keeps_order=False))


def _unchecked(labels: rducodec.Labels) -> bytes:
    """A file of samples of one bit that is not read again."""
    samples = np.arange(labels.num_samples, dtype=np.uint8).reshape(-1, 1, 1, 1) % 2
    bounds = writer._slices_of_classes(labels.counts, int(labels.counts.max()))
    parts = [samples[begin : begin + size] for begin, size in bounds]
    payloads = [raw.encode_raw(part, BITS) for part in parts]
    return writer._assemble(BITS, (1, 1, 1), labels, parts, payloads, None, rducodec.Texts())


def _declared(num_samples: int) -> bytes:
    """Many samples of the first of very many classes, whose soft labels are one word."""
    counts = np.zeros(MANY_CLASSES, np.int64)
    counts[0] = num_samples
    data = _unchecked(rducodec.Labels(counts))
    labels = pack_labels(rducodec.Labels(counts))
    section = b"\x02" + labels[1:] + pack_varint(ERROR_256) + bytes(4) + bytes(4)
    return with_sections(data, section, sections_of(data)[1])


def invalid_soft_labels(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Faults in soft labels; `good` are the valid vectors."""
    base = good["soft-labels"]
    section, slices = sections_of(base)
    fields = pack_labels(dataclasses.replace(rducodec.read(base).label_set, soft=None))
    total, check, payload = section[len(fields) :][:2], section[len(fields) + 2 :][:4], section[len(fields) + 6 :]
    head = section[: len(fields)]
    noise = np.random.default_rng(113).bytes(len(payload))
    cases = (
        ("kind-4", b"\x04" + section[1:], "kind 4"),
        ("missing", head, "cut off"),
        ("total-0", head + b"\0" + check + payload, "sum 0"),
        ("total-cut", head + total[:1], "cut off"),
        ("check-cut", head + total + check[:3], "no soft labels"),
        ("payload-empty", head + total + check, "no soft labels"),
        ("payload-part-of-word", section + b"\0", "multiple of 4"),
        ("payload-cut", section[:-4], ""),
        ("payload-words-left", section + b"\1\0\0\0" * 4, "does not end"),
        ("payload-zero-words-left", section + bytes(8), "does not end"),
        ("payload-zeros", head + total + check + bytes(len(payload)), "does not end"),
        ("payload-ones", head + total + check + b"\xff" * len(payload), "not a sequence of symbols"),
        ("payload-noise", head + total + check + noise, ""),
        ("not-declared", b"\0" + section[1:], "too many"),
    )
    for name, bad, message in cases:
        yield f"soft-{name}", with_sections(base, bad, slices), CORRUPT, message
    wrong_check = head + total + bytes(4) + payload
    yield "soft-check", with_sections(base, wrong_check, slices), WRONG_SAMPLES, "soft labels"
    other = rducodec.read(base).label_set
    assert other.soft is not None
    changed = dataclasses.replace(other, soft=SoftLabels(231, np.roll(other.soft.counts, 1, axis=1)))
    replaced = with_sections(base, pack_labels(changed), slices)
    yield "soft-digest", replaced, WRONG_SAMPLES, "samples and labels"
    hard_digest = rducodec.pack_raw(np.zeros((6, 1, 1, 1), np.uint8), dataclasses.replace(other, soft=None), BITS)
    soft_file = rducodec.pack_raw(np.zeros((6, 1, 1, 1), np.uint8), other, BITS)
    without = resealed(soft_file[:24] + hard_digest[24:40] + soft_file[40:])
    yield "soft-digest-without", without, WRONG_SAMPLES, "samples and labels"
    yield from _invalid_orders(good["soft-ordered"])
    sums = SoftLabels(MAX_TOTAL + 1, np.array([[MAX_TOTAL - 4, 5], [7, MAX_TOTAL - 6]], np.int32))
    too_large = _unchecked(rducodec.Labels(np.array([1, 1]), None, sums))
    yield "soft-total-2-24-plus-1", too_large, CORRUPT, f"sum {MAX_TOTAL + 1}"
    alone = _unchecked(rducodec.Labels(np.array([2]), None, SoftLabels(4, np.full((2, 1), 4, np.int32))))
    yield "soft-one-class", alone, CORRUPT, "with 1 class"
    yield "soft-too-much-output", _declared((1 << 15) + 8), TOO_LARGE, "max_output_bytes"
    yield "soft-too-much-work", _declared(1 << 14), TOO_LARGE, "max_work"


def _invalid_orders(ordered: bytes) -> Iterator[Invalid]:
    """Faults in the order of the source where soft labels follow it."""
    section, slices = sections_of(ordered)
    hard = pack_labels(dataclasses.replace(rducodec.read(ordered).label_set, soft=None))
    counts_bytes = hard.index(b"\x28\xb5\x2f\xfd")
    size = len(hard) - counts_bytes
    head, rest = section[:counts_bytes], section[counts_bytes + 1 :]
    for name, order_bytes, message in (
        ("order-cut", size - 1, "Zstandard"),
        ("order-long", size + 1, "Zstandard"),
        ("order-past-the-end", len(rest) + 1, "cut off"),
        ("order-wraps", (1 << 63) - 1, "cut off"),
        ("order-0-bytes", 0, "not a Zstandard frame"),
    ):
        yield f"soft-{name}", with_sections(ordered, head + pack_varint(order_bytes) + rest, slices), CORRUPT, message
