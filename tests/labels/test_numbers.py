"""Numbers under adaptive contexts: round trips, the plain coder, and bytes that nobody encoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rducodec.entropy.plain_coder import PlainEncoder
from rducodec.errors import RddFormatError
from rducodec.labels import numbers
from rducodec.labels.numbers import KINDS, LEVELS, NumberDecoder, NumberEncoder

NUMBERS = st.lists(
    st.tuples(st.integers(0, KINDS - 1), st.integers(0, LEVELS - 1), st.integers(0, 1 << 24), st.floats(0, 1)),
    max_size=60,
)


def written(items: list[tuple[int, int, int, int]]) -> bytes:
    encoder = NumberEncoder()
    for kind, level, limit, value in items:
        assert encoder.number(kind, level, limit, value) == value
    return encoder.finish()


@settings(max_examples=100, deadline=None)
@given(NUMBERS)
def test_round_trip(drawn: list[tuple[int, int, int, float]]) -> None:
    items = [(0, 0, 1, 1), *((kind, level, limit, round(limit * share)) for kind, level, limit, share in drawn)]
    payload = written(items)
    decoder = NumberDecoder(payload)
    assert [decoder.number(kind, level, limit) for kind, level, limit, _ in items] == [item[3] for item in items]
    decoder.finish()


def test_every_number_below_every_limit() -> None:
    items = [(1, 32, limit, value) for limit in range(40) for value in range(limit + 1)]
    decoder = NumberDecoder(written(items))
    assert [decoder.number(kind, level, limit) for kind, level, limit, _ in items] == [item[3] for item in items]
    decoder.finish()


def test_plain_coder_writes_the_same(monkeypatch) -> None:
    rng = np.random.default_rng(3)
    items = [(2, int(rng.integers(64)), 1 << 20, int(rng.integers(1 << 20))) for _ in range(200)]
    expected = written(items)
    monkeypatch.setattr(numbers, "RangeEncoder", PlainEncoder)
    assert written(items) == expected


def test_what_is_always_the_same_costs_almost_nothing() -> None:
    assert len(written([(0, 20, 255, 0)] * 20_000)) <= 8


def test_beginnings_are_those_of_the_specification() -> None:
    """b of 128 is about 126 (E + 2^(i-1)) / (E + 2^i), and 126 E / (E + 1) for i = 0; E = 2^((q - 32) / 2) nearly."""
    beginnings = numbers._beginnings()
    for level in range(LEVELS):
        expected = 2.0 ** ((level >> 1) - 16) * (1.25 + 0.5 * (level & 1))
        for digit in range(numbers.MAX_DIGITS):
            share = (expected + (2.0 ** (digit - 1) if digit else 0)) / (expected + 2.0**digit)
            assert beginnings[level * numbers.MAX_DIGITS + digit] == 1 + int(126 * share)
    assert all(1 <= ones <= 127 for ones in beginnings)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.lists(st.integers(0, 1 << 24), max_size=50))
def test_any_payload_gives_numbers_in_range_or_an_error(payload: bytes, limits: list[int]) -> None:
    try:
        decoder = NumberDecoder(payload)
        for limit in limits:
            assert 0 <= decoder.number(0, 32, limit) <= limit
        decoder.finish()
    except RddFormatError:
        pass


@pytest.mark.parametrize("more", [b"\0\0\0\0" * 2, b"\1\0\0\0" * 2])
def test_words_left_over(more: bytes) -> None:
    decoder = NumberDecoder(written([(0, 0, 9, 5)]) + more)
    assert decoder.number(0, 0, 9) == 5
    with pytest.raises(RddFormatError, match="does not end"):
        decoder.finish()
