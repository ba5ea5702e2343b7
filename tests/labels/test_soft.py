"""Probabilities to integers and back: the bound on the error, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec.labels import (
    MAX_TOTAL,
    error_bound,
    keep_top,
    published_bound_bits,
    quantize_labels,
    softmax,
    total_for,
)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 12), st.integers(1, 1000), st.sampled_from([0.05, 0.3, 1.0, 30.0]), st.integers(0, 1 << 30))
def test_error_of_quantized_labels(num_classes: int, total: int, spread: float, seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet([spread] * num_classes, 5)
    soft = quantize_labels(probabilities, total)
    assert soft.counts.min() >= 0
    assert (soft.counts.sum(axis=1) == total).all()
    assert np.abs(soft.counts / total - probabilities).max() <= error_bound(total, num_classes) + 1e-12


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_bound_of_the_error_is_reached(num_classes: int) -> None:
    """All remainders equal: one of them is rounded up, by 1 - 1/K."""
    probabilities = np.full((1, num_classes), 1 / num_classes)
    soft = quantize_labels(probabilities, 1)
    assert np.abs(soft.counts - probabilities).max() == pytest.approx(error_bound(1, num_classes))


def test_nearest_point_of_the_lattice() -> None:
    """No other integers of the same sum are nearer, by comparison with all of them."""
    rng = np.random.default_rng(0)
    points = np.array([(a, b, 7 - a - b) for a in range(8) for b in range(8 - a)])
    for probabilities in rng.dirichlet([0.7] * 3, 50):
        found = quantize_labels(probabilities[None], 7).counts[0]
        distances = np.square(points / 7 - probabilities).sum(axis=1)
        assert np.square(found / 7 - probabilities).sum() == pytest.approx(distances.min())


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 65535), st.floats(1e-6, 1.0))
def test_total_for_an_error_is_the_least(num_classes: int, error: float) -> None:
    total = total_for(error, num_classes)
    assert error_bound(total, num_classes) <= error * (1 + 1e-12)
    assert total == 1 or error_bound(total - 1, num_classes) > error * (1 - 1e-12)


@pytest.mark.parametrize("error", [0.0, -1.0, float("nan"), 1e-9])
def test_error_out_of_range(error: float) -> None:
    with pytest.raises(ValueError, match="label error"):
        total_for(error, 10)


def test_bound_of_the_paper() -> None:
    assert published_bound_bits(231, 10) == pytest.approx(9 * 8, rel=1e-3)
    assert published_bound_bits(256, 1000) == pytest.approx(999 * -math.log2(0.999 / 256))
    exact = round(2**23 * 0.999)  # K = 1000 in float32, where an error is 2^-23
    assert published_bound_bits(exact, 1000) == pytest.approx(22_977, abs=1e-3)


def test_probabilities_are_correctly_rounded() -> None:
    rng = np.random.default_rng(1)
    for total in (3, 231, MAX_TOTAL - 1, MAX_TOTAL):
        counts = rng.multinomial(total, rng.dirichlet([0.2] * 9, 20)).astype(np.int32)
        found = rducodec.SoftLabels(total, counts).probabilities()
        for value, count in zip(found.reshape(-1), counts.reshape(-1), strict=True):
            exact = Fraction(int(count), total)
            neighbours = (np.nextafter(value, np.float32(-1)), value, np.nextafter(value, np.float32(2)))
            assert min(abs(Fraction(float(each)) - exact) for each in neighbours) == abs(Fraction(float(value)) - exact)


def test_softmax() -> None:
    found = softmax(np.array([[1000.0, 999.0, -1e6]]), 2.0)
    share = 1 / (1 + math.exp(-0.5))
    assert found[0] == pytest.approx([share, 1 - share, 0])


def test_largest_are_kept_and_scaled() -> None:
    found = keep_top(np.array([[0.4, 0.1, 0.4, 0.1], [0.0, 0.0, 1.0, 0.0]]), 3)
    assert found.tolist() == [[0.4 / 0.9, 0.1 / 0.9, 0.4 / 0.9, 0], [0, 0, 1, 0]]


COUNTS = np.array([[3, 1], [0, 4], [4, 0]], np.int32)


@pytest.mark.parametrize(
    ("soft", "message"),
    [
        (rducodec.SoftLabels(5, COUNTS), "label 0 adds up to 4, not to 5"),
        (rducodec.SoftLabels(4, COUNTS - [[1, -1]] * 3), r"count at \[1, 0\] is -1"),
        (rducodec.SoftLabels(3, COUNTS), r"count at \[1, 1\] is 4, allowed 0\.\.3"),
        (rducodec.SoftLabels(4, COUNTS[:2]), r"shape \(2, 2\), integers \(3, 2\)"),
        (rducodec.SoftLabels(4, COUNTS[:, :1]), r"integers \(3, 2\) expected"),
        (rducodec.SoftLabels(4, COUNTS / 1.0), "float64 of shape"),
        (rducodec.SoftLabels(0, 0 * COUNTS), "a total of 0"),
        (rducodec.SoftLabels(MAX_TOTAL + 1, COUNTS), "a total of 16777217"),
    ],
)
def test_soft_labels_that_cannot_be_stored(soft: rducodec.SoftLabels, message: str) -> None:
    labels = rducodec.Labels(np.array([2, 1]), None, soft)
    with pytest.raises(rducodec.RddInputError, match=message):
        rducodec.pack_raw(np.zeros((3, 1, 1, 1), np.uint8), labels, rducodec.RawConfig(False, 1))


def test_soft_labels_of_one_class() -> None:
    labels = rducodec.Labels(np.array([1]), None, rducodec.SoftLabels(4, np.array([[4]])))
    with pytest.raises(rducodec.RddInputError, match="1 classes"):
        rducodec.pack_raw(np.zeros((1, 1, 1, 1), np.uint8), labels, rducodec.RawConfig(False, 1))
