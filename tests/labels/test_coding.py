"""Soft labels to a payload and back: sizes that are expected of the model, and time that follows what is not 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rducodec.errors import RddFormatError
from rducodec.labels import SoftLabels, quantize_labels
from rducodec.labels.coding import _integer_logs, decode_soft_labels, encode_soft_labels, integer_log
from rducodec.labels.precision import LabelPrecision, label_bits, soft_labels_of

WORD_BYTES = 4  # what a payload has at least


def draws(num_classes: int, count: int, spread: float, total: int) -> tuple[SoftLabels, np.ndarray]:
    """Dirichlet draws sorted by their largest class, and how many each class has."""
    probabilities = np.random.default_rng(9).dirichlet([spread] * num_classes, count)
    classes = probabilities.argmax(axis=1)
    soft = quantize_labels(probabilities[np.argsort(classes, kind="stable")], total)
    return soft, np.bincount(classes, minlength=num_classes)


@pytest.mark.parametrize(
    ("num_classes", "count", "spread", "most"),
    [(2, 60, 1.0, 8), (10, 300, 0.1, 33), (10, 300, 1.0, 54), (100, 40, 0.1, 215)],
)
def test_round_trip_and_size(num_classes: int, count: int, spread: float, most: float) -> None:
    soft, sizes = draws(num_classes, count, spread, 256)
    payload = encode_soft_labels(soft, sizes)
    assert np.array_equal(decode_soft_labels(payload, 256, sizes).counts, soft.counts)
    assert 8 * len(payload) / count <= most


def test_one_hot_labels_cost_almost_nothing() -> None:
    counts = np.repeat(np.eye(10, dtype=np.int32), 100, axis=0) * 256
    assert len(encode_soft_labels(SoftLabels(256, counts), np.full(10, 100))) == WORD_BYTES


def test_largest_number_of_classes() -> None:
    rng = np.random.default_rng(2)
    counts = np.zeros((3, 65535), np.int32)
    for row in counts:
        row[rng.integers(0, 65535, 10)] = 5
        row[7] += 100 - row.sum()
    sizes = np.zeros(65535, np.int64)
    sizes[7] = 3
    payload = encode_soft_labels(SoftLabels(100, counts), sizes)
    assert np.array_equal(decode_soft_labels(payload, 100, sizes).counts, counts)
    assert len(payload) < 3 * 10 * 4


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(2, 6), st.integers(1, 1 << 24), st.lists(st.integers(0, 4), min_size=6))
def test_any_payload_gives_labels_or_an_error(payload: bytes, num_classes: int, total: int, sizes: list[int]) -> None:
    try:
        soft = decode_soft_labels(payload, total, np.array(sizes[:num_classes]))
    except RddFormatError:
        return
    assert soft.counts.min(initial=0) >= 0
    assert (soft.counts.sum(axis=1, dtype=np.int64) == total).all()


def test_logarithms() -> None:
    values = [1, 2, 3, 5, 7, 8, 9, 1000, (1 << 51) - 1, 1 << 51]
    logs = [integer_log(value) for value in values]
    assert _integer_logs(np.array(values)).tolist() == logs
    for value, log in zip(values, logs, strict=True):
        assert -1.7 < log - 8 * math.log2(value) <= 0
    assert integer_log(1) == 0


def test_finest_labels_within_a_number_of_bits() -> None:
    probabilities = np.random.default_rng(4).dirichlet([0.3] * 10, 60)
    sizes = np.array([60, *[0] * 9])
    for bits in (5.0, 30.0, 80.0, 1000.0):
        soft = soft_labels_of(probabilities, sizes, LabelPrecision(bits=bits))
        assert label_bits(soft, sizes) <= bits
        finer = min(1 << 24, soft.total + soft.total // 16 + 2)
        assert soft.total == 1 << 24 or label_bits(quantize_labels(probabilities, finer), sizes) > 0.95 * bits
