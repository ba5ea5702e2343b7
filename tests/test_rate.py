"""The parts of a file add up exactly, and information is what the file's own tables say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec.bitstream.container import PREFIX_BYTES
from rducodec.entropy.range_coder import RangeEncoder
from rducodec.rate import MODELLED_PARTS, PARTS, _payload_parts
from rducodec.units import sorted_units
from rducodec.weights import encode_tensors
from spec.make_vectors import counts, latent_file, random_slice, tiny_config
from tests import strategies

SLACK_BITS = 64  # a payload is at most two words longer than its information


@settings(max_examples=40, deadline=None)
@given(st.data(), strategies.latent_configs(), st.integers(1, 3))
def test_parts_sum_to_the_file(data: st.DataObject, config: rducodec.LatentConfig, num_slices: int) -> None:
    slices = [data.draw(strategies.latent_slices(config)) for _ in range(num_slices)]
    packed = rducodec.pack_latent(slices, counts(*(part.num_samples for part in slices)), config)
    rate = rducodec.bpc(packed)
    assert tuple(rate.parts) == PARTS
    assert all(type(bits) is int and bits >= 0 for bits in rate.parts.values())
    assert sum(rate.parts.values()) == rate.file_bits == rate.total_bits == 8 * len(packed)
    payload = sum(rate.parts[name] for name in MODELLED_PARTS)
    information = sum(rate.information_bits.values())
    rounding = 1e-5 * information  # the coder's own, 24-bit probabilities in a 64-bit range
    assert information - 1 <= payload <= information + SLACK_BITS * num_slices + rounding


def test_network_bits_are_those_of_a_stream_of_networks_alone() -> None:
    config = tiny_config(entropy_depth=2, synthesis_widths=(40, 9))
    part = random_slice(config, 3, np.random.default_rng(5))
    encoder = RangeEncoder()
    dataset = rducodec.read(rducodec.pack_latent([part], counts(3), config))
    encode_tensors(encoder, sorted_units(part).tensors(), dataset.key_places(dataset.slices[0]))
    alone = 8 * len(encoder.finish())
    rate = rducodec.bpc(dataset)
    networks = rate.information_bits["entropy_networks"] + rate.information_bits["decoder_networks"]
    assert networks <= alone <= networks + SLACK_BITS
    assert rate.parts["entropy_networks"] == np.ceil(rate.information_bits["entropy_networks"])


def test_framing_header_and_labels_are_the_stored_bytes() -> None:
    packed = latent_file(tiny_config(), [2, 2, 1], counts(4, 1), 0)
    dataset = rducodec.read(packed)
    rate = rducodec.bpc(dataset)
    assert rate.parts["framing"] == 8 * (PREFIX_BYTES + 3 * 4)
    assert rate.parts["header"] == 8 * (dataset.container.body_offset - PREFIX_BYTES)
    assert rate.parts["labels"] == 8 * dataset.header.labels_bytes
    assert rate.bpc_bits == 8 * len(packed) / 2
    assert rate.bpc_kb == len(packed) / 2 / 1024
    assert set(rate.overhead) == {"networks", "latents", "payload"}


def test_raw_samples_count_as_latents() -> None:
    samples = np.random.default_rng(1).integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    packed = rducodec.pack_raw(samples, counts(2, 3), rducodec.RawConfig(False, 8, 255))
    rate = rducodec.bpc(packed)
    assert sum(rate.parts.values()) == 8 * len(packed)
    assert rate.parts["latents"] == 8 * (samples.size + 2)  # a method byte for each of two slices
    assert rate.parts["entropy_networks"] == rate.parts["decoder_networks"] == 0
    assert rate.information_bits == rate.overhead == {}


def test_same_count_from_path_and_threads(tmp_path) -> None:
    packed = latent_file(tiny_config(), [2, 2, 1], counts(4, 1), 0)
    path = tmp_path / "a.rdd"
    path.write_bytes(packed)
    assert rducodec.bpc(path, threads=1) == rducodec.bpc(str(path), threads=3) == rducodec.bpc(packed)


def test_payload_shorter_than_its_information_has_no_negative_part() -> None:
    information = dict.fromkeys(MODELLED_PARTS, 40.5)
    assert _payload_parts(64, information) == {"entropy_networks": 41, "decoder_networks": 23, "latents": 0}


def test_progress_adds_up_to_the_samples() -> None:
    told: list[float] = []
    rducodec.bpc(latent_file(tiny_config(), [2, 2, 1], counts(4, 1), 0), progress=told.append)
    assert sum(told) == pytest.approx(5)
