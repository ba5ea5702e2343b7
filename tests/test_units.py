"""Sorted hidden units: the same samples, one order for all that are equal, and steps that come back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec import writer
from rducodec.entropy.range_coder import RangeDecoder, RangeEncoder
from rducodec.synthesis import synthesize
from rducodec.units import NO_KEYS, key_places, sorted_units, tied
from rducodec.weights import best_codes, decode_tensors, encode_tensors, information_bits
from spec.make_vectors import counts, random_slice, tiny_config
from spec.vector_tools import changed
from spec.vectors_units import coarse
from tests import reference_decoder as reference
from tests import strategies

CONFIG = tiny_config(synthesis_widths=(9, 7), num_scales=3, channels=3)
EVERYTHING = slice(0, len(CONFIG.tensor_shapes()))


def part_of(seed: int, frac_bits: int = 1) -> rducodec.LatentSlice:
    """A slice in which many units tie."""
    return coarse(random_slice(CONFIG, 2, np.random.default_rng(seed)), frac_bits)


def shuffled(part: rducodec.LatentSlice, seed: int) -> rducodec.LatentSlice:
    """The same networks with the units of the first layer in another order."""
    order = np.random.default_rng(seed).permutation(len(part.synthesis[1].values))
    weight, bias, following, *rest = part.synthesis
    return dataclasses.replace(
        part,
        synthesis=(
            dataclasses.replace(weight, values=weight.values[order]),
            dataclasses.replace(bias, values=bias.values[order]),
            dataclasses.replace(following, values=following.values[:, order]),
            *rest,
        ),
    )


def test_order_changes_no_sample() -> None:
    part = part_of(1)
    assert np.array_equal(synthesize(part, CONFIG), synthesize(sorted_units(part), CONFIG))


def test_networks_that_differ_in_order_alone_become_equal_and_are_stored_once() -> None:
    part = part_of(2)
    other = shuffled(part, 3)
    first, second = (sorted_units(each) for each in (part, other))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(first.synthesis, second.synthesis, strict=True))
    with changed((writer, "_unit_keys", lambda *_: 2)):
        data = rducodec.pack_latent([part, other], counts(4), CONFIG)
    assert rducodec.read(data).header.decoder_owners == (0, 0)


@pytest.mark.parametrize("count", range(1, 9))
def test_tensors_come_back(count: int) -> None:
    tensors = sorted_units(part_of(4)).tensors()
    keys = key_places(CONFIG, EVERYTHING, count)
    encoder = RangeEncoder()
    encode_tensors(encoder, tensors, keys)
    payload = encoder.finish()
    again = decode_tensors(RangeDecoder(payload), CONFIG.tensor_shapes(), keys)
    assert all(np.array_equal(a.values, b.values) for a, b in zip(tensors, again, strict=True))
    information = information_bits(tensors, best_codes(tensors, keys), keys).sum()
    assert information <= 8 * len(payload) + 32
    assert 8 * len(payload) < information + 72


def test_units_in_another_order_are_refused() -> None:
    part = shuffled(sorted_units(part_of(5)), 6)
    with pytest.raises(rducodec.RddInputError, match="order"):
        encode_tensors(RangeEncoder(), part.tensors(), key_places(CONFIG, EVERYTHING, 1))


def test_units_too_far_apart_are_stored_without_their_order() -> None:
    config = tiny_config(synthesis_widths=(160,))
    part = random_slice(config, 1, np.random.default_rng(7))
    bias = np.linspace(-8e6, 8e6, 160).astype(np.int32)
    bias[0] = -16_000_000
    far = (part.synthesis[0], rducodec.QuantizedTensor(bias, 16), *part.synthesis[2:])
    data = rducodec.pack_latent([dataclasses.replace(part, synthesis=far)], counts(1), config)
    assert rducodec.read(data).header.unit_keys == 0


def test_ties_end_with_the_first_step() -> None:
    steps = np.array([[5, 0, 0, 2], [7, 0, 1, 0], [1, 1, 1, 1]])
    assert tied(steps).tolist() == [[False, True, True, True], [False, True, True, False], [False, True, False, False]]


def test_keys_are_biases_then_weights_of_the_decoder_alone() -> None:
    cut = len(CONFIG.entropy_shapes())
    sizes = [int(np.prod(shape)) for shape in CONFIG.tensor_shapes()]
    for stored in (EVERYTHING, slice(cut, EVERYTHING.stop)):
        flat = np.concatenate([np.full(size, index) for index, size in enumerate(sizes)][stored])
        first, second = key_places(CONFIG, stored, 8)
        assert [np.unique(flat[places]).tolist() for places in first] == [[cut + 2], *[[cut + 1]] * 3]
        assert first.shape == (4, 9)
        assert second.shape == (8, 7)
        assert flat[second[0, 0]] == cut + 4
    assert key_places(CONFIG, slice(0, cut), 8) is NO_KEYS
    assert key_places(CONFIG, EVERYTHING, 0) is NO_KEYS


@settings(max_examples=20, deadline=None)
@given(st.data(), strategies.latent_configs(), st.integers(1, 8), st.integers(0, 3))
def test_any_number_of_keys_in_both_decoders(
    data: st.DataObject, config: rducodec.LatentConfig, unit_keys: int, frac_bits: int
) -> None:
    if not config.synthesis_widths:
        unit_keys = 0
    part = coarse(data.draw(strategies.latent_slices(config, 1)), frac_bits)
    with changed((writer, "_unit_keys", lambda *_: unit_keys)):
        packed = rducodec.pack_latent([part], counts(1), config)
    dataset = rducodec.read(packed)
    assert dataset.header.unit_keys == unit_keys
    assert sum(rducodec.bpc(dataset).parts.values()) == 8 * len(packed)
    assert reference.decode(packed).stored == dataset.stored_samples().astype("<i4").tobytes()


def test_many_units_are_sorted_for_their_bytes() -> None:
    config = tiny_config(synthesis_widths=(160,))
    part = random_slice(config, 1, np.random.default_rng(8))
    data = rducodec.pack_latent([part], counts(1), config)
    with changed((writer, "_unit_keys", lambda *_: 0)):
        plain = rducodec.pack_latent([part], counts(1), config)
    assert rducodec.read(data).header.unit_keys
    assert len(plain) - len(data) > 100  # log2(160!) is 118 bytes
    assert np.array_equal(rducodec.read(data).stored_samples(), rducodec.read(plain).stored_samples())
