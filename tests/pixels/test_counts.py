"""Rows that are learned, against a plain loop and the Laplace distribution."""

from __future__ import annotations

import math

import numpy as np

from rducodec.pixels.counts import FLOOR, MAX_COUNT, Counts, coder_rows, laplace_rows, uniform_row
from rducodec.pixels.few import FORM_ORDER, FewSetting, Level, sources


def test_refined_rows_follow_the_formula() -> None:
    rng = np.random.default_rng(0)
    counts = Counts(5, 3, 2)
    plain = [[0] * 3 for _ in range(5)]
    start = uniform_row(3).astype(int).tolist()
    for _ in range(4):
        contexts, letters = rng.integers(0, 5, 9), rng.integers(0, 3, 9)
        rows = counts.refine(np.broadcast_to(uniform_row(3), (9, 3)), contexts)
        for row, b in zip(rows.tolist(), contexts.tolist(), strict=True):
            n = plain[b]
            assert row == [((start[v] << 2) + (n[v] << 24)) // (4 + sum(n)) for v in range(3)]
        counts.update(contexts, letters)
        for b, v in zip(contexts.tolist(), letters.tolist(), strict=True):
            plain[b][v] += 1


def test_full_contexts_are_halved_once() -> None:
    counts = Counts(2, 2, 0)
    counts.update(np.zeros(MAX_COUNT - 1, np.int64), np.zeros(MAX_COUNT - 1, np.int64))
    counts.update(np.array([1, 1]), np.array([0, 1]))
    start = np.broadcast_to(uniform_row(2), (2, 2))
    assert counts.refine(start, np.array([0, 1])).tolist()[1] == [(3 << 23) // 3, (3 << 23) // 3]
    counts.update(np.array([0]), np.array([1]))
    low, total = (MAX_COUNT - 1) >> 1, ((MAX_COUNT - 1) >> 1) + 1
    assert counts.refine(start[:1], np.array([0])).tolist() == [
        [((1 << 23) + (low << 24)) // total, (1 << 23) // total]
    ]


def test_laplace_rows_have_the_masses_of_the_distribution() -> None:
    for b, mean in ((0.5, 3.25), (2.0, 0.0), (1.0, 7.0), (9.0, 2.5)):
        index = round(74 + 16 * math.log(b))
        exact_b = math.exp((index - 74) / 16)

        def below(t: float, b: float = exact_b) -> float:
            return math.exp(t / b) / 2 if t < 0 else 1 - math.exp(-t / b) / 2

        edges = [0.0, *(below(v - 0.5 - mean) for v in range(1, 8)), 1.0]
        (row,) = laplace_rows(np.array([round(32 * mean)]), np.array([index]), 8)
        for v in range(8):
            assert abs(row[v] / 2**24 - (edges[v + 1] - edges[v])) < 1e-6


def test_coder_rows_sum_to_2_24_and_keep_the_floor() -> None:
    rng = np.random.default_rng(1)
    for letters in (2, 5, 32):
        masses = rng.random((50, letters)) ** 8
        rows = coder_rows(masses / masses.sum(axis=1, keepdims=True) * 2**24 // 1)
        assert (rows.astype(np.int64).sum(axis=1) + letters == 1 << 24).all()
        assert rows.min() + 1 >= FLOOR


def test_sources_of_contexts() -> None:
    assert sources(0) == [(0, 1), (0, 2), (0, 4), (0, 3), (0, 5), (0, 6)]
    assert sources(1)[:5] == [(0, 0), (1, 1), (1, 2), (0, 1), (0, 2)]
    assert sources(3)[:6] == [(2, 0), (1, 0), (3, 1), (3, 2), (2, 1), (2, 2)]
    assert [len(sources(c)) for c in range(4)] == [6, 9, 10, 10]


def test_table_size_counts_every_context() -> None:
    setting = FewSetting(3, 0, (Level(2, 1), Level(15, 1)))
    assert setting.table_size(2) == 4 * (4**2 + 4**6 + 4**2 + 4**9)
    forms = FewSetting(16, 0, (Level(FORM_ORDER, 5),), None, 5, 4)
    assert forms.table_size(1) == 17 * (17 * 10)
