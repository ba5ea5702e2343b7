"""Both range coders: the same bytes, the same symbols, the same refusals."""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rducodec.entropy import range_coder, tables
from rducodec.entropy.plain_coder import Decoder, Encoder, PlainDecoder, PlainEncoder
from rducodec.errors import RddFormatError

DECODERS = (range_coder.RangeDecoder, PlainDecoder)
ENCODERS = (range_coder.RangeEncoder, PlainEncoder)


def message(seed: int, length: int, *, extreme: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and symbols that fit them or (extreme) any symbols."""
    rng = np.random.default_rng(seed)
    rows = tables.primary_table()[rng.integers(0, len(tables.primary_table()), length)]
    if extreme:
        return rng.integers(0, tables.ALPHABET, length).astype(np.int32), rows
    ends = (rows.astype(np.float64) + 1).cumsum(axis=1)
    return (ends <= rng.random((length, 1)) * tables.TOTAL).sum(axis=1).astype(np.int32), rows


def encoded(encoder: Encoder, symbols: np.ndarray, rows: np.ndarray) -> bytes:
    encoder.encode(symbols, rows)
    return encoder.finish()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 120), st.booleans())
def test_coders_agree(seed: int, length: int, extreme: bool) -> None:
    symbols, rows = message(seed, length, extreme=extreme)
    payloads = [encoded(new(), symbols, rows) for new in ENCODERS]
    assert payloads[0] == payloads[1]
    for new in DECODERS:
        decoder: Decoder = new(payloads[0])
        assert decoder.decode(rows).tolist() == symbols.tolist()
        decoder.finish()


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=0, max_size=64), st.integers(0, 1000))
def test_coders_agree_on_hostile_payloads(payload: bytes, seed: int) -> None:
    rows = message(seed, 60, extreme=True)[1]
    outcomes = []
    for new in DECODERS:
        try:
            decoder: Decoder = new(payload)
            symbols = decoder.decode(rows).tolist()
            decoder.finish()
            outcomes.append(str(symbols))
        except RddFormatError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_golden_bytes() -> None:
    symbols = np.arange(16, dtype=np.int32)
    rows = np.repeat(tables.primary_table()[74 * 32 + 16][None], 16, axis=0)
    for new in ENCODERS:
        assert encoded(new(), symbols, rows).hex() == GOLDEN


GOLDEN = "045eff35ac96bd397032b3a072ef66d6"  # the 16 symbols of the row for b = 1 and mean 0, once each


@pytest.mark.parametrize(("decoder", "extra"), list(product(DECODERS, [b"\0" * 8, b"\1\0\0\0" * 2])))
def test_words_left_over_are_refused(decoder: type[Decoder], extra: bytes) -> None:
    symbols, rows = message(7, 200, extreme=False)
    again: Decoder = decoder(encoded(PlainEncoder(), symbols, rows) + extra)  # type: ignore[call-arg]
    again.decode(rows)
    with pytest.raises(RddFormatError, match="does not end"):
        again.finish()


@pytest.mark.parametrize("decoder", DECODERS)
def test_part_of_a_word_is_refused(decoder: type[Decoder]) -> None:
    with pytest.raises(RddFormatError, match="multiple of 4"):
        decoder(b"abcde")  # type: ignore[call-arg]


def test_carries_run_through_many_words() -> None:
    # A first interval that ends just under a power of two, then always its top: the carry is late.
    row = np.array([[2**23 - 1, 2**23 - 1]], np.float32)
    for ones in range(90, 130):
        symbols = np.array([0, *[1] * ones, *[1, 0] * 40], np.int32)
        rows = np.repeat(row, len(symbols), axis=0)
        payloads = {encoded(new(), symbols, rows) for new in ENCODERS}
        assert len(payloads) == 1
        assert PlainDecoder(payloads.pop()).decode(rows).tolist() == symbols.tolist()


def test_plain_coder_stands_in_where_constriction_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setitem(sys.modules, "constriction", None)
    try:
        module = importlib.reload(range_coder)
        assert module.RangeDecoder is PlainDecoder
        assert module.RangeEncoder is PlainEncoder
    finally:
        monkeypatch.undo()
        importlib.reload(range_coder)
