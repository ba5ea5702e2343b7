"""Frequency tables: sums, floors, inverses, shape of the distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rducodec.entropy import tables
from rducodec.entropy.plain_coder import PlainDecoder

SPEC = Path(__file__).parents[2] / "spec"


def all_rows() -> np.ndarray:
    rows = (tables.primary_table(), tables.tail_table(), tables.exponent_row()[None])
    return np.concatenate(rows).astype(np.int64) + 1


def test_every_row_sums_to_the_total_and_keeps_its_floor() -> None:
    rows = all_rows()
    assert (rows.sum(axis=1) == tables.TOTAL).all()
    assert rows.min() == tables.FLOOR
    assert (tables.bit_row().astype(np.int64) + 1).tolist() == [tables.TOTAL // 2] * 2


def test_frequencies_are_exact_in_float32() -> None:
    assert (all_rows() - 1).astype(np.float32).astype(np.int64).tolist() == (all_rows() - 1).tolist()


def test_constants_are_those_of_the_specification() -> None:
    printed = (SPEC / "laplace_constants.csv").read_bytes()
    packaged = (Path(tables.__file__).parent / "laplace_constants.csv").read_bytes()
    assert printed == packaged


def test_inverse_is_right_for_every_quantile() -> None:
    rows = all_rows()
    ends = rows.cumsum(axis=1)
    for row, end in zip(rows, ends, strict=True):
        # A row is a partition of 0..2**24-1: the intervals of its symbols touch and cover it.
        quantiles = np.concatenate([end - row, end - 1])
        symbols = np.searchsorted(end, quantiles, side="right")
        assert symbols.tolist() == [*range(len(row))] * 2


@pytest.mark.parametrize("index", [0, 1, 16, 2000, 4959])
def test_plain_decoder_finds_the_symbol_of_each_boundary(index: int) -> None:
    row = tables.primary_table()[index]
    frequencies = row.astype(np.int64) + 1
    scale = (2**64 - 1) >> tables.PRECISION
    begin = 0
    for symbol, frequency in enumerate(frequencies.tolist()):
        for quantile in (begin, begin + frequency - 1):
            words = np.array([quantile * scale >> 32, quantile * scale & 0xFFFFFFFF], "<u4")
            assert PlainDecoder(words.tobytes()).decode(row[None])[0] == symbol
        begin += frequency


def test_tables_are_laplace_up_to_the_floor() -> None:
    for scale_index in (40, 74, 90):
        b = np.exp((scale_index - tables.SCALE_ORIGIN) / tables.SCALES_PER_NEPER)
        for mean_index in (0, 16, 29):
            mean = (mean_index - tables.MEAN_ORIGIN) / tables.MEANS_PER_UNIT
            row = tables.primary_table()[scale_index * tables.NUM_MEANS + mean_index].astype(float) + 1

            def cdf(x: np.ndarray, b: float = float(b)) -> np.ndarray:
                return np.where(x < 0, np.exp(-np.abs(x) / b) / 2, 1 - np.exp(-np.abs(x) / b) / 2)

            offsets = tables.SYMBOL_OFFSETS - mean
            expected = cdf(offsets + 0.5) - cdf(offsets - 0.5)
            kept = 1 - tables.ALPHABET * tables.FLOOR / tables.TOTAL
            assert np.allclose(row[:-1] / tables.TOTAL, expected * kept + tables.FLOOR / tables.TOTAL, atol=2e-6)
