"""Integers to symbols and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rducodec.entropy.plain_coder import PlainDecoder
from rducodec.entropy.range_coder import RangeDecoder, RangeEncoder
from rducodec.entropy.symbols import (
    MAX_OFFSET,
    decode_offsets,
    decode_raw_bits,
    encode_offsets,
    encode_raw_bits,
    offset_bits,
)

EDGES = [0, 7, -7, 8, -8, 22, 23, -23, 24, 1000, -32768, 32767, MAX_OFFSET, -MAX_OFFSET]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(EDGES), st.integers(-MAX_OFFSET, MAX_OFFSET)), st.integers(0, 4959)),
        max_size=60,
    ),
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2**15 - 1)), max_size=20),
)
def test_offsets_and_bits_come_back(batch: list[tuple[int, int]], bits: list[tuple[int, int]]) -> None:
    offsets, rows = (np.array([item[k] for item in batch], np.int32) for k in (0, 1))
    widths = np.array([width for width, _ in bits], np.int64)
    values = np.array([value & ((1 << width) - 1) for width, value in bits], np.int64)
    encoder = RangeEncoder()
    encode_offsets(encoder, offsets, rows)
    encode_raw_bits(encoder, values, widths)
    payload = encoder.finish()
    for decoder in (RangeDecoder(payload), PlainDecoder(payload)):
        assert decode_offsets(decoder, rows).tolist() == offsets.tolist()
        assert decode_raw_bits(decoder, widths).tolist() == values.tolist()
        decoder.finish()


def test_bits_of_offsets_are_what_the_coder_takes() -> None:
    """One for each offset: summed over many, the length of the payload but for the coder's last words."""
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 4960, 20_000)
    offsets = np.round(rng.laplace(0, 3.0, 20_000) ** 3).clip(-MAX_OFFSET, MAX_OFFSET).astype(np.int32)
    encoder = RangeEncoder()
    encode_offsets(encoder, offsets, rows)
    length, bits = 8 * len(encoder.finish()), offset_bits(offsets, rows)
    assert bits.shape == offsets.shape
    assert bits.sum() <= length <= bits.sum() * 1.001 + 64
