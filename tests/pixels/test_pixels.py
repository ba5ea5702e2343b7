"""Coded numbers as a whole: lossless, the same with the plain coder, never anything but an RddError for bad bytes."""

from __future__ import annotations

from contextlib import suppress
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rducodec.bitstream import zstd
from rducodec.data import load_digits
from rducodec.entropy.plain_coder import PlainDecoder, PlainEncoder
from rducodec.errors import RddError, RddFormatError
from rducodec.pixels import METHOD_FEW, METHOD_WIDE, decode_numbers, encode_numbers


def walk(shape: tuple[int, ...], bits: int, spread: float, seed: int) -> np.ndarray:
    """Numbers that resemble their neighbours, somewhere in the range."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=shape).cumsum(axis=2).cumsum(axis=3) * spread
    return np.clip(np.rint(steps + rng.integers(0, 1 << bits)), 0, (1 << bits) - 1).astype(np.uint16)


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(1, 16), st.sampled_from([0.0, 0.1, 1.0, 50.0, 9999.0]), st.integers(0, 2**32 - 1))
def test_every_way_is_lossless(shape: tuple[int, ...], bits: int, spread: float, seed: int) -> None:
    numbers = walk(shape, bits, spread, seed)
    ways = encode_numbers(numbers, bits)
    assert bool(ways) == bool(numbers.any())
    for method, payload in ways:
        assert method == (METHOD_FEW if numbers.max() < 32 else METHOD_WIDE)
        assert np.array_equal(decode_numbers(method, payload, shape, bits), numbers)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from([METHOD_WIDE, METHOD_FEW]), SHAPES, st.integers(1, 16), st.binary(max_size=200))
def test_any_bytes_end_in_numbers_or_an_error(method: int, shape: tuple[int, ...], bits: int, payload: bytes) -> None:
    try:
        numbers = decode_numbers(method, payload, shape, bits)
    except RddError:
        return
    assert numbers.shape == shape
    assert numbers.max() < 1 << bits


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([2, 8]), st.data())
def test_damaged_payloads_end_in_numbers_or_an_error(bits: int, data: st.DataObject) -> None:
    numbers = walk((3, 2, 4, 5), bits, 2.0, 5)
    method, payload = data.draw(st.sampled_from(encode_numbers(numbers, bits)))
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RddError):
        assert decode_numbers(method, bytes(damaged), numbers.shape, bits).max() < 1 << bits


@pytest.mark.parametrize("bits", [2, 4, 8, 13])
def test_plain_coder_writes_and_reads_the_same(bits: int) -> None:
    numbers = walk((2, 3, 5, 4), bits, 3.0, bits)
    with patch("rducodec.pixels.RangeEncoder", PlainEncoder):
        plain = encode_numbers(numbers, bits)
    assert plain == encode_numbers(numbers, bits)
    with patch("rducodec.pixels.RangeDecoder", PlainDecoder):
        for method, payload in plain:
            assert np.array_equal(decode_numbers(method, payload, numbers.shape, bits), numbers)


@pytest.mark.parametrize("bits", [3, 8])
def test_every_truncation_is_refused_or_other_numbers(bits: int) -> None:
    numbers = walk((2, 1, 5, 5), bits, 2.0, 7)
    for method, payload in encode_numbers(numbers, bits):
        for size in range(len(payload)):
            try:
                again = decode_numbers(method, payload[:size], numbers.shape, bits)
            except RddFormatError:
                continue
            assert not np.array_equal(again, numbers) or not any(payload[size:])


def test_digits_of_a_class_are_smaller_than_with_zstd() -> None:
    images, labels = load_digits()
    ink = np.rint(images[labels == 3] * 16).astype(np.uint8)
    smallest = min(len(payload) for _, payload in encode_numbers(ink, 5))
    assert smallest < 0.95 * len(zstd.compress(ink.tobytes()))


def test_smooth_colours_are_much_smaller_than_with_zstd() -> None:
    y, x = np.indices((24, 24))
    waves = np.stack([np.sin((x + k) / 5) * np.cos((y - 2 * k) / 7) for k in range(8)]) * 90 + 128
    noise = np.random.default_rng(1).normal(size=(8, 1, 24, 24))
    numbers = np.clip(np.rint(waves[:, None] + noise + np.array([0, 5, -9])[:, None, None]), 0, 255).astype(np.uint8)
    _, payload = encode_numbers(numbers, 8)[0]
    # Entropy of the noise, about 2.05 bits a number of the first channel; the others follow from it but for rounding.
    assert 8 * len(payload) / numbers.size < 1.5
    assert len(payload) < 0.5 * len(zstd.compress(numbers.tobytes()))
