"""The test vectors in which hidden units are sorted and coded by steps, and those that do it in a wrong way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

import rducodec
from rducodec import weights, writer
from rducodec.bitstream import header as headers
from rducodec.entropy.latents import encode_latents
from rducodec.entropy.plain_coder import Encoder
from rducodec.entropy.range_coder import RangeEncoder
from rducodec.entropy.symbols import encode_offsets
from rducodec.synthesis import synthesize
from rducodec.units import MAX_UNIT_KEYS, key_places, sorted_units
from rducodec.weights import encode_tensors
from spec.vector_tools import (
    CORRUPT,
    Invalid,
    Vector,
    changed,
    counts,
    latent_file,
    put,
    random_slice,
    tensor_of,
    tiny_config,
    with_header,
)
from spec.vectors_sharing import CLASSES, DECODER_OWNERS, ENTROPY_OWNERS, SIZES, shared_slices

KEYS = headers.UNIT_KEYS
WIDE = {"synthesis_widths": (12,)}


def sorted_file(parts: Sequence[rducodec.LatentSlice], config: rducodec.LatentConfig, unit_keys: int) -> bytes:
    """Slices of one class with their units sorted by so many keys, whether that saves bytes or not."""
    labels = counts(sum(part.num_samples for part in parts))
    with changed((writer, "_unit_keys", lambda *_: unit_keys)):
        return rducodec.pack_latent(parts, labels, config)


def coarse(part: rducodec.LatentSlice, frac_bits: int) -> rducodec.LatentSlice:
    """The hidden layers in steps so coarse that units tie."""

    def rounded(tensor: rducodec.QuantizedTensor) -> rducodec.QuantizedTensor:
        return tensor_of(np.rint(tensor.dequantize() * 2**frac_bits), frac_bits)

    hidden = len(part.synthesis) - 6
    synthesis = (*(rounded(tensor) for tensor in part.synthesis[:hidden]), *part.synthesis[hidden:])
    return dataclasses.replace(part, synthesis=synthesis)


def wide_steps(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
    """Biases and weights that have raw bits, and ties between some of them."""
    units = len(part.synthesis[1].values)
    bias = np.repeat(np.arange(units)[::-1] * 50_000 - 123_456, 2)[:units]
    weight = np.random.default_rng(121).permutation(np.arange(part.synthesis[0].values.size) * 3001 - 30_000)
    synthesis = (tensor_of(weight.reshape(units, -1), 16), tensor_of(bias, 16), *part.synthesis[2:])
    return dataclasses.replace(part, synthesis=synthesis)


def valid_units() -> Iterator[Vector]:
    """One key to all of them, with ties, raw bits, several layers and shared networks."""
    rng = np.random.default_rng(120)
    config = tiny_config(**WIDE)
    part = random_slice(config, 2, rng)
    yield "units-one-key", sorted_file([part], config, 1)
    yield "units-two-keys", sorted_file([coarse(part, 2)], config, 2)
    yield "units-that-tie", sorted_file([coarse(part, 1), coarse(random_slice(config, 1, rng), 0)], config, 3)
    yield "units-more-keys-than-weights", sorted_file([coarse(part, 1)], config, MAX_UNIT_KEYS)
    yield "units-raw-bits", sorted_file([wide_steps(part)], config, 2)
    for name, fields, keys in (
        ("one-unit", {"synthesis_widths": (1,)}, 2),
        ("two-layers", {"synthesis_widths": (9, 7), "channels": 3, "entropy_depth": 0}, 4),
        ("three-layers", {"synthesis_widths": (5, 6, 4), "context_size": 16, "num_scales": 1}, 3),
    ):
        config = tiny_config(**fields)
        yield f"units-{name}", sorted_file([coarse(random_slice(config, 2, rng), 1)], config, keys)
    config = tiny_config(**WIDE)
    parts = shared_slices(config, SIZES, ENTROPY_OWNERS, DECODER_OWNERS, 122)
    with changed((writer, "_unit_keys", lambda *_: 2)):
        yield "units-sharing", rducodec.pack_latent(parts, CLASSES, config)
    wide = tiny_config(synthesis_widths=(160,))
    data = latent_file(wide, [1], counts(1), 123)
    assert rducodec.read(data).header.unit_keys
    yield "units-where-they-pay", data


def unread_units(part: rducodec.LatentSlice, config: rducodec.LatentConfig, unit_keys: int) -> bytes:
    """A file of one slice that is not read again."""
    part = sorted_units(part)
    coder = RangeEncoder()
    encode_tensors(coder, part.tensors(), key_places(config, slice(0, len(part.tensors())), unit_keys))
    encode_latents([coder], [part.entropy], [part.latents], config)
    shape = (config.channels, config.height, config.width)
    samples, payloads = [synthesize(part, config)], [coder.finish()]
    labels = counts(part.num_samples)
    return writer._assemble(config, shape, labels, samples, payloads, None, rducodec.Texts(), unit_keys=unit_keys)


def with_gap_index(number: int) -> tuple[Any, str, Any]:
    """A change of the encoder: the last key gets this `gap_index`."""
    calls = count()

    def encode(encoder: Encoder, offsets: np.ndarray, rows: np.ndarray) -> None:
        if next(calls) == 3:  # after `frac_bits`, `scale_index` and `raw_bits`
            offsets = offsets.copy()
            offsets[-1] = number - weights.FIRST_SCALE_INDEX - int(offsets[:-1].sum())
        encode_offsets(encoder, offsets, rows)

    return weights, "encode_offsets", encode


def invalid_units(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Keys out of range or without a layer, scales out of range, steps that lead too far."""
    base = good["units-two-keys"]
    for name, value in (("0", 0), ("9", 9), ("negative", -1), ("float", 2.0), ("array", [2])):
        yield f"units-keys-{name}", with_header(base, put(KEYS, value)), CORRUPT, f"key {KEYS}"
    yield "units-keys-raw", with_header(good["raw-8-bits"], put(KEYS, 1)), CORRUPT, "hidden layers"
    config = tiny_config(synthesis_widths=())
    yield "units-keys-no-layer", with_header(latent_file(config, [1], counts(1), 124), put(KEYS, 1)), CORRUPT, "hidden"
    config = tiny_config(**WIDE)
    part = random_slice(config, 1, np.random.default_rng(125))
    for name, number in (("minus-1", -1), ("155", 155)):
        with changed(with_gap_index(number)):
            data = unread_units(part, config, 2)
        yield f"units-gap-index-{name}", data, CORRUPT, f"{number}, allowed 0..154"
    bias = np.arange(12) * 100 + (1 << 24) - 1100  # the last one is 2^24
    synthesis = (part.synthesis[0], tensor_of(bias, 16), *part.synthesis[2:])
    with changed((weights, "MAX_VALUE", 1 << 25)):
        data = unread_units(dataclasses.replace(part, synthesis=synthesis), config, 1)
        rducodec.read(data).samples()  # without the check, all is well
    yield "units-step-to-2-24", data, CORRUPT, "magnitude"
