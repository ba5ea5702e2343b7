"""The compiled loops beside the portable path: the same latents, the same refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

import rducodec
from rducodec.entropy import latents, tables
from rducodec.entropy.compiled import LANES, CompiledDecoder
from rducodec.entropy.latents import decode_latents, decoder_class, encode_latents
from rducodec.entropy.plain_coder import Decoder, PlainDecoder
from rducodec.entropy.range_coder import RangeDecoder, RangeEncoder
from rducodec.errors import RddFormatError
from rducodec.weights import decode_tensors, encode_tensors
from spec.make_vectors import counts, latent_file, random_slice, resealed, tiny_config
from tests.strategies import latent_configs, latent_slices

NewDecoder = Callable[[bytes], Decoder]
DECODERS: tuple[NewDecoder, ...] = (RangeDecoder, PlainDecoder, CompiledDecoder)


def encoded(part: rducodec.LatentSlice, config: rducodec.LatentConfig) -> bytes:
    encoder = RangeEncoder()
    encode_latents([encoder], [part.entropy], [part.latents], config)
    return encoder.finish()


def outcome(
    new: NewDecoder, payload: bytes, part: rducodec.LatentSlice, config: rducodec.LatentConfig
) -> list[np.ndarray] | str:
    """The latents, or the message of the refusal."""
    try:
        decoder = new(payload)
        grids = decode_latents([decoder], [part.entropy], part.num_samples, config)[0]
        decoder.finish()
    except RddFormatError as error:
        return str(error)
    return list(grids)


def assert_same(found: list[np.ndarray] | str, expected: Sequence[np.ndarray] | str) -> None:
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("coarser_size", [0, 5])
@pytest.mark.parametrize("context_size", [8, 16, 24, 32])
@pytest.mark.parametrize("depth", range(5))
@pytest.mark.parametrize("num_samples", [1, 3, LANES - 1, LANES, LANES + 1, 2 * LANES])
def test_latents_of_every_network(context_size: int, depth: int, num_samples: int, coarser_size: int) -> None:
    config = rducodec.LatentConfig(
        1, 7, 5, 3, context_size, depth, coarser_size=coarser_size, grid_biases=depth % 2 == 1
    )
    rng = np.random.default_rng([context_size, depth, num_samples])
    part = random_slice(config, num_samples, rng, spread=2.0)
    part.latents[0][:, ::3, ::2] = rng.integers(-(1 << 15), 1 << 15, part.latents[0][:, ::3, ::2].shape)
    assert_same(outcome(CompiledDecoder, encoded(part, config), part, config), part.latents)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_latents_of_any_geometry(data: st.DataObject) -> None:
    config = data.draw(latent_configs())
    part = data.draw(latent_slices(config))
    assert_same(outcome(CompiledDecoder, encoded(part, config), part, config), part.latents)


@pytest.mark.parametrize("value", [-(1 << 15), (1 << 15) - 1])
def test_extreme_latents_are_escaped(value: int) -> None:
    config = rducodec.LatentConfig(1, 4, 6, 2, 16, 1)
    part = random_slice(config, 2, np.random.default_rng(0), spread=0.5)
    for grid in part.latents:
        grid[:] = value
    assert_same(outcome(CompiledDecoder, encoded(part, config), part, config), part.latents)


def test_many_steps_at_real_size() -> None:
    config = rducodec.LatentConfig(3, 32, 32, 6, 16, 4)
    part = random_slice(config, 10, np.random.default_rng(1))
    payload = encoded(part, config)
    assert_same(outcome(CompiledDecoder, payload, part, config), part.latents)
    assert_same(outcome(RangeDecoder, payload, part, config), part.latents)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_hostile_payloads_end_alike(data: st.DataObject, seed: int) -> None:
    config = data.draw(latent_configs())
    part = data.draw(latent_slices(config))
    rng = np.random.default_rng(seed)
    payload = bytearray(encoded(part, config))
    kind = data.draw(st.sampled_from(["bits", "short", "long", "random", "zeros", "ones"]))
    if kind == "bits" and payload:
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
    elif kind == "short":
        del payload[rng.integers(len(payload) + 1) :]
    elif kind == "long":
        payload += rng.bytes(4 * int(rng.integers(1, 3)))
    elif kind == "random":
        payload = bytearray(rng.bytes(4 * int(rng.integers(50))))
    elif kind == "zeros":
        payload = bytearray(len(payload))
    elif kind == "ones":
        payload = bytearray(b"\xff" * len(payload))
    expected = outcome(RangeDecoder, bytes(payload), part, config)
    assert_same(outcome(CompiledDecoder, bytes(payload), part, config), expected)


def test_latents_beyond_16_bits_are_refused_alike() -> None:
    config = rducodec.LatentConfig(1, 3, 3, 1, 8, 0)
    part = random_slice(config, 4, np.random.default_rng(0))
    largest = np.array([0, 200 * 128], np.int32)  # the scale index is at its end, so tails are long
    part = rducodec.LatentSlice(part.latents, (part.entropy[0], rducodec.QuantizedTensor(largest, 7)), *part_rest(part))
    messages = set()
    for seed in range(30):
        payload = np.random.default_rng(seed).bytes(800)
        found = [outcome(new, payload, part, config) for new in DECODERS]
        assert_same(found[1], found[0])
        assert_same(found[2], found[0])
        messages |= {found[0].partition(":")[0]} if isinstance(found[0], str) else set()
    assert "latents" in messages


def part_rest(part: rducodec.LatentSlice) -> tuple[rducodec.QuantizedTensor, tuple[rducodec.QuantizedTensor, ...]]:
    return part.upsampling, part.synthesis


def test_accumulators_beyond_32_bits_are_refused_alike() -> None:
    config = rducodec.LatentConfig(1, 2, 2, 1, 8, 1, act_bits=20)
    part = random_slice(config, 1, np.random.default_rng(0))
    heavy = rducodec.QuantizedTensor(np.full((8, 8), 1 << 20, np.int32), 7)
    part = rducodec.LatentSlice(part.latents, (heavy, *part.entropy[1:]), *part_rest(part))
    found = outcome(CompiledDecoder, bytes(64), part, config)
    assert found == outcome(RangeDecoder, bytes(64), part, config)
    assert "below 2**31" in str(found)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 1000), st.integers(1, 80), st.booleans())
def test_symbols_and_ends_agree(payload: bytes, seed: int, count: int, bits: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = tables.primary_table()[rng.integers(0, len(tables.primary_table()), count)]
    if bits:
        rows = np.broadcast_to(tables.bit_row(), (count, 2)).copy()
    outcomes = []
    for new in DECODERS:
        try:
            decoder = new(payload)
            symbols = decoder.decode(rows).tolist()
            decoder.finish()
            outcomes.append(str(symbols))
        except RddFormatError as error:
            outcomes.append(str(error))
    assert len(set(outcomes)) == 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([-8, -4, 0, 4, 8]))
def test_payload_must_end_with_its_last_symbol(seed: int, count: int, change: int) -> None:
    rng = np.random.default_rng(seed)
    rows = tables.primary_table()[rng.integers(0, len(tables.primary_table()), count)]
    encoder = RangeEncoder()
    encoder.encode(rng.integers(0, tables.ALPHABET, count).astype(np.int32), rows)
    payload = encoder.finish()
    payload = payload[: len(payload) + change] if change < 0 else payload + bytes(change)
    ends = set()
    for new in DECODERS:
        decoder = new(payload)
        try:
            decoder.decode(rows)
            decoder.finish()
            ends.add("end")
        except RddFormatError as error:
            ends.add(str(error))
    assert len(ends) == 1


def test_networks_of_a_slice() -> None:
    config = tiny_config()
    part = random_slice(config, 1, np.random.default_rng(3))
    encoder = RangeEncoder()
    encode_tensors(encoder, part.tensors())
    decoder = CompiledDecoder(encoder.finish())
    for ours, theirs in zip(decode_tensors(decoder, config.tensor_shapes()), part.tensors(), strict=True):
        assert ours.frac_bits == theirs.frac_bits
        assert np.array_equal(ours.values, theirs.values)
    decoder.finish()


def test_choice_of_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    small = rducodec.LatentConfig(3, 32, 32, 6, 16, 2)
    monkeypatch.delenv(latents.COMPILED_VARIABLE, raising=False)
    assert decoder_class(small, [64]) is CompiledDecoder  # it is loaded already
    monkeypatch.setenv(latents.COMPILED_VARIABLE, "0")
    assert decoder_class(small, [64] * 1000) is RangeDecoder
    monkeypatch.delenv(latents.COMPILED_VARIABLE)
    monkeypatch.delitem(sys.modules, latents.COMPILED_MODULE)
    assert decoder_class(small, [64] * 10) is RangeDecoder  # less work than loading numba
    monkeypatch.setitem(sys.modules, latents.COMPILED_MODULE, None)
    assert decoder_class(small, [64] * 1000) is RangeDecoder  # as if numba were not installed


def test_import_loads_no_numba() -> None:
    code = "import sys, rducodec, rducodec.reader; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def samples_or_error(data: bytes, threads: int) -> np.ndarray | str:
    try:
        return rducodec.read(data).stored_samples(threads=threads)
    except rducodec.RddError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("threads", [1, 2])
def test_files_and_their_faults(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    data = latent_file(tiny_config(entropy_depth=2), [2, 2, 2, 1, 1], counts(4, 4), 0)
    body = rducodec.read(data).slices[0].offset_bytes
    rng = np.random.default_rng(threads)
    faults = 0
    for number in range(40):
        damaged = bytearray(data)
        for _ in range(number % 3):
            damaged[rng.integers(body, len(data))] ^= 1 << rng.integers(8)
        results = []
        for wish in "01":
            monkeypatch.setenv(latents.COMPILED_VARIABLE, wish)
            results.append(samples_or_error(resealed(bytes(damaged)), threads))
        assert type(results[0]) is type(results[1])
        assert np.array_equal(results[0], results[1])
        faults += isinstance(results[0], str) and "FormatError: slice" in results[0]
    assert faults
