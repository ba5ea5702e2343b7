"""Slices that share networks: stored once, counted once, and each class decodes alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec.bitstream.sharing import first_equal
from spec.make_vectors import counts, random_slice, tiny_config
from spec.vector_tools import resealed
from spec.vectors_sharing import CLASSES, DECODER_OWNERS, ENTROPY_OWNERS, SIZES, shared_file, shared_slices
from tests import reference_decoder as reference
from tests import strategies


@settings(max_examples=15, deadline=None)
@given(st.data(), strategies.latent_configs())
def test_any_sharing_round_trips_in_both_decoders(data: st.DataObject, config: rducodec.LatentConfig) -> None:
    sizes = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))
    groups = st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes))
    entropy, decoder = first_equal(data.draw(groups)), first_equal(data.draw(groups))
    parts = shared_slices(config, sizes, entropy, decoder, data.draw(st.integers(0, 99)))
    packed = rducodec.pack_latent(parts, counts(*sizes), config)
    dataset = rducodec.read(packed)
    found = [tuple(dataset.header.owners(index)[kind] for index in range(len(sizes))) for kind in (0, 1)]
    assert found == [entropy, decoder]
    assert sum(rducodec.bpc(dataset).parts.values()) == 8 * len(packed)
    assert reference.decode(packed).stored == dataset.stored_samples().astype("<i4").tobytes()


def test_shared_networks_are_stored_and_counted_once() -> None:
    config = tiny_config(entropy_depth=2, synthesis_widths=(20,))
    own = rducodec.bpc(rducodec.pack_latent(shared_slices(config, SIZES, range(5), range(5), 3), CLASSES, config))
    one = rducodec.pack_latent(shared_slices(config, SIZES, (0,) * 5, (0,) * 5, 3), CLASSES, config)
    alone = rducodec.bpc(
        rducodec.pack_latent(shared_slices(config, SIZES, (0,) * 5, (0,) * 5, 3)[:1], counts(2), config)
    )
    rate = rducodec.bpc(one)
    for name in ("entropy_networks", "decoder_networks"):
        assert rate.parts[name] == alone.parts[name] < own.parts[name] / 4


@pytest.mark.parametrize("compiled", ["0", "1"])
def test_a_class_decodes_alone(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDUCODEC_COMPILED", compiled)
    dataset = rducodec.read(shared_file(ENTROPY_OWNERS, DECODER_OWNERS))
    everything = dataset.stored_samples()
    for label in range(3):
        assert np.array_equal(dataset.stored_samples([label]), everything[dataset.labels == label])


def test_a_class_needs_nothing_of_another_but_its_networks() -> None:
    """Latents of class 0 are damaged at the end of its payloads; class 2 shares its networks and decodes."""
    data = bytearray(shared_file((0,) * 5, (0,) * 5))
    dataset = rducodec.read(bytes(data))
    entry = dataset.slices[0]
    data[entry.offset_bytes + entry.num_bytes - 6] ^= 0xFF
    damaged = rducodec.read(resealed(bytes(data)))
    assert np.array_equal(damaged.stored_samples([2]), dataset.stored_samples([2]))
    with pytest.raises((rducodec.RddFormatError, rducodec.RddDigestError)):
        damaged.stored_samples([0])


def test_a_broken_network_is_reported_with_the_slice_that_stores_it() -> None:
    data = bytearray(shared_file((0,) * 5, (0,) * 5))
    entry = rducodec.read(bytes(data)).slices[0]
    data[entry.offset_bytes + 4 : entry.offset_bytes + 12] = b"\xff" * 8
    with pytest.raises((rducodec.RddFormatError, rducodec.RddDigestError), match=r"slice [04]"):
        rducodec.read(resealed(bytes(data))).stored_samples([2])


def test_networks_that_differ_in_one_integer_are_not_shared() -> None:
    config = tiny_config()
    part = random_slice(config, 1, np.random.default_rng(1))
    other = random_slice(config, 1, np.random.default_rng(1))
    other.entropy[0].values[0, 0] += 1
    dataset = rducodec.read(rducodec.pack_latent([part, other], counts(1, 1), config))
    assert dataset.header.owners(1) == (1, 0)
