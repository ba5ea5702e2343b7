"""Whole files: round trips, hostile bytes, selection of classes, and the cost of framing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from spec.make_vectors import counts, latent_file, random_slice, resealed, tiny_config
from tests import strategies


def slices_for(labels: rducodec.Labels, data: st.DataObject, config: rducodec.LatentConfig) -> list:
    """Slices that tile the classes, of random sizes."""
    parts = []
    for count in labels.counts.tolist():
        while count:
            size = data.draw(st.integers(1, count))
            parts.append(data.draw(strategies.latent_slices(config, size)))
            count -= size
    return parts


def assert_same_soft_labels(dataset: rducodec.Dataset, labels: rducodec.Labels) -> None:
    if labels.soft is None:
        assert (dataset.label_counts, dataset.soft_labels, dataset.label_total) == (None, None, None)
        return
    assert dataset.label_counts is not None
    assert dataset.soft_labels is not None
    assert np.array_equal(dataset.label_counts, labels.soft.counts)
    assert dataset.label_total == labels.soft.total
    assert dataset.soft_labels.dtype == np.float32
    exact = (
        labels.soft.counts.astype(np.float64) / labels.soft.total
    )  # a double quotient of such numbers rounds the same
    assert np.array_equal(dataset.soft_labels, exact.astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(st.data(), strategies.latent_configs(), strategies.labels())
def test_latent_round_trip(data: st.DataObject, config: rducodec.LatentConfig, labels: rducodec.Labels) -> None:
    parts = slices_for(labels, data, config)
    packed = rducodec.pack_latent(parts, labels, config)
    assert packed == rducodec.pack_latent(parts, labels, config)
    dataset = rducodec.read(packed)
    for part, again in zip(parts, dataset.latent_slices(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(part.latents, again.latents, strict=True))
        for tensor, same in zip(part.tensors(), again.tensors(), strict=True):
            assert tensor.frac_bits == same.frac_bits
            assert tensor.values.shape == same.values.shape
            assert np.array_equal(np.sort(tensor.values, axis=None), np.sort(same.values, axis=None))  # units may move
        for tensor, same in zip(part.entropy, again.entropy, strict=True):
            assert np.array_equal(tensor.values, same.values)
    assert dataset.labels.tolist() == labels.sequence().tolist()
    assert_same_soft_labels(dataset, labels)
    stored = dataset.stored_samples()
    for label in range(len(labels.counts)):
        assert np.array_equal(dataset.stored_samples([label]), stored[dataset.labels == label])


@settings(max_examples=60, deadline=None)
@given(strategies.labels(), strategies.raw_configs(), st.data())
def test_raw_round_trip(labels: rducodec.Labels, config: rducodec.RawConfig, data: st.DataObject) -> None:
    samples = data.draw(strategies.raw_samples(labels.num_samples, config))
    slice_size = data.draw(st.sampled_from([None, 1, 2]))
    dataset = rducodec.read(rducodec.pack_raw(samples, labels, config, slice_size=slice_size))
    assert dataset.stored_samples().dtype == samples.dtype
    assert np.array_equal(dataset.stored_samples(), samples)
    assert dataset.labels.tolist() == labels.sequence().tolist()
    assert_same_soft_labels(dataset, labels)


@pytest.fixture(scope="module")
def small() -> bytes:
    return latent_file(tiny_config(), [2, 1], counts(2, 1), 5, texts=rducodec.Texts(name="x"))


def test_every_truncation_is_refused(small: bytes) -> None:
    for size in range(len(small)):
        with pytest.raises(rducodec.RddFormatError):
            rducodec.read(small[:size])


def test_every_flipped_bit_is_refused(small: bytes) -> None:
    for position in range(8 * len(small)):
        damaged = bytearray(small)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises((rducodec.RddFormatError, rducodec.RddVersionError)):
            rducodec.read(bytes(damaged))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_refused(small: bytes, data: st.DataObject) -> None:
    """Bursts, zeroed blocks, repeated blocks."""
    begin = data.draw(st.integers(0, len(small) - 1))
    size = data.draw(st.integers(1, 40))
    block = data.draw(st.one_of(st.just(bytes(size)), st.binary(min_size=size, max_size=size), st.just(small[:size])))
    damaged = small[:begin] + block + small[begin + size :]
    if damaged != small:
        with pytest.raises((rducodec.RddFormatError, rducodec.RddVersionError)):
            rducodec.read(damaged).samples()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_resealed_damage_ends_in_samples_or_an_error(small: bytes, data: st.DataObject) -> None:
    """An attacker recomputes digests: every check behind them must hold on its own."""
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(8, len(small) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        samples = rducodec.read(resealed(bytes(damaged)), limits=rducodec.Limits(max_output_bytes=1 << 20)).samples()
    except rducodec.RddError:
        return
    assert np.isfinite(samples).all()


def test_samples_are_the_stored_integers_over_their_unit(small: bytes) -> None:
    dataset = rducodec.read(small)
    expected = dataset.stored_samples().astype(np.float64) * 2.0**-16
    assert dataset.samples().dtype == np.float32
    assert np.array_equal(dataset.samples(), expected.astype(np.float32))


def test_unknown_class_is_a_usage_error(small: bytes) -> None:
    with pytest.raises(ValueError, match="class 2 does not exist"):
        rducodec.read(small).samples([2])


def test_framing_of_ten_slices_takes_at_most_200_bytes() -> None:
    config = rducodec.LatentConfig(3, 32, 32, 6, 16, 4, (480,))
    rng = np.random.default_rng(0)
    parts = [random_slice(config, 8, rng) for _ in range(10)]
    packed = rducodec.pack_latent(parts, counts(*[8] * 10), config, space=rducodec.ValueSpace())
    dataset = rducodec.read(packed)
    payloads = sum(entry.num_bytes - 4 for entry in dataset.slices)
    assert len(packed) - payloads <= 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: dataclasses.replace(part, latents=part.latents[:1]), "latent shapes"),
        (lambda part: dataclasses.replace(part, latents=tuple(g.astype(np.int32) for g in part.latents)), "int16"),
        (lambda part: dataclasses.replace(part, entropy=part.entropy[2:]), "network shapes"),
        (
            lambda part: dataclasses.replace(part, upsampling=rducodec.QuantizedTensor(np.full((8, 8), 1 << 23), 1)),
            "accumulator",
        ),
        (
            lambda part: dataclasses.replace(part, upsampling=rducodec.QuantizedTensor(np.zeros((8, 8), int), 17)),
            "fractional bits",
        ),
        (
            lambda part: dataclasses.replace(part, upsampling=rducodec.QuantizedTensor(np.full((8, 8), 1 << 24), 1)),
            "allowed 16777215",
        ),
    ],
)
def test_unrepresentable_slices_are_refused(change, message) -> None:
    part = random_slice(tiny_config(), 1, np.random.default_rng(0))
    with pytest.raises(rducodec.RddInputError, match=message):
        rducodec.pack_latent([change(part)], counts(1), tiny_config())


def test_not_finite_samples_are_refused() -> None:
    samples = np.zeros((2, 1, 2, 2), np.float32)
    samples[1, 0, 1, 0] = np.nan
    with pytest.raises(rducodec.RddInputError, match=r"\[1, 0, 1, 0\] is nan"):
        rducodec.pack_raw(samples, counts(2), rducodec.RawConfig(True, 32))


def test_slices_must_tile_the_classes() -> None:
    part = random_slice(tiny_config(), 3, np.random.default_rng(0))
    with pytest.raises(rducodec.RddInputError, match="cross the end of class 0"):
        rducodec.pack_latent([part], counts(2, 1), tiny_config())


def test_missing_file_keeps_its_errno(tmp_path) -> None:
    with pytest.raises(rducodec.RddIOError) as caught:
        rducodec.read(tmp_path / "missing.rdd")
    assert caught.value.errno == 2


def test_errors_of_a_named_file_have_its_path_as_a_note(tmp_path):
    path = tmp_path / "damaged.rdd"
    path.write_bytes(b"xx\n")
    with pytest.raises(rducodec.RddFormatError) as caught:
        rducodec.read(path)
    assert caught.value.__notes__ == [str(path)]
    with pytest.raises(rducodec.RddFormatError) as caught:
        rducodec.read(b"xx\n")
    assert not hasattr(caught.value, "__notes__")
