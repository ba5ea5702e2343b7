"""The test vectors that a decoder must read."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import zstandard

import rducodec
from spec.vector_tools import (
    Edit,
    Vector,
    counts,
    entropy_bound_edit,
    file_with_end,
    latent_file,
    nested,
    pack_plain,
    put,
    raw_file,
    sections_of,
    stored_header,
    synthesis_bound_edit,
    tensor_of,
    tiny_config,
    upsampling_bound_edit,
    with_entropy,
    with_header,
    with_sections,
    with_stored_header,
    with_synthesis,
    zeros_file,
)

VALUE_MAX = (1 << 27) - 1  # clamp of the synthesis
CONSTANT = {"fullest-payload", "sharing-fullest-payload"}  # vectors whose samples are all equal
# Samples of one pixel with 209715 parameters and latents: what a payload of one word may hold.
FULLEST = tiny_config(height=1, width=1, num_scales=1, entropy_depth=0, synthesis_widths=(405, 513))
FULLEST_SAMPLES = 11


def worked_example() -> bytes:
    """The file of section 16: two 2 x 2 samples of one class, no hidden layers."""
    config = rducodec.LatentConfig(
        channels=1, height=2, width=2, num_scales=1, context_size=8, entropy_depth=0, synthesis_widths=()
    )
    part = rducodec.LatentSlice(
        latents=(np.array([[[0, 1], [-1, 2]], [[3, 0], [0, -9]]], np.int16),),
        entropy=(tensor_of(np.zeros((2, 8)), 0), tensor_of([0, 4], 0)),
        upsampling=tensor_of(np.zeros((8, 8)), 0),
        synthesis=(
            tensor_of([[1]], 2),
            tensor_of([1], 1),
            *(tensor_of(np.zeros(shape), 0) for shape in ((1, 1, 3, 3), (1,), (1, 1, 3, 3), (1,))),
        ),
    )
    return rducodec.pack_latent([part], counts(2), config, space=rducodec.ValueSpace())


def valid() -> Iterator[Vector]:
    """All files that a decoder must read."""
    yield "worked-example", worked_example()
    config = rducodec.LatentConfig(3, 8, 8, 4, 16, 2, (6,))
    yield "two-classes", latent_file(config, [3, 3], counts(3, 3), 1, space=rducodec.ValueSpace())
    yield from valid_geometries()
    yield from valid_ends_of_ranges()
    yield from valid_labels()
    yield from valid_headers()
    yield from valid_raw()


def valid_geometries() -> Iterator[Vector]:
    """Every size of the networks, and grids of many shapes."""
    for context_size in (8, 16, 24, 32):
        config = tiny_config(height=9, width=11, num_scales=3, context_size=context_size)
        yield f"context-{context_size}", latent_file(config, [2], counts(2), context_size)
    for depth in range(5):
        config = tiny_config(entropy_depth=depth, height=6, width=5)
        yield f"depth-{depth}", latent_file(config, [2], counts(2), 40 + depth)
    for widths in ((), (4,), (5, 3), (3, 4, 2), (2, 3, 2, 1, 2, 3, 2, 2)):
        config = tiny_config(synthesis_widths=widths, channels=3)
        yield "widths-" + "-".join(map(str, widths or (0,))), latent_file(config, [2], counts(2), 54 + len(widths))
    shapes = ((1, 1, 1, 1), (1, 1, 7, 3), (2, 7, 1, 8), (4, 13, 5, 3), (3, 16, 16, 5), (1, 3, 3, 8))
    for channels, height, width, scales in shapes:
        config = tiny_config(channels=channels, height=height, width=width, num_scales=scales)
        name = f"shape-{channels}x{height}x{width}-scales-{scales}"
        yield name, latent_file(config, [2], counts(2), height * width)
    for spread in (0.25, 6.0, 60.0, 3000.0):
        config = tiny_config(height=8, width=8, act_bits=20)
        yield f"spread-{spread:g}", latent_file(config, [2], counts(2), 60, spread=spread)
    yield "float64-network", latent_file(tiny_config(act_frac_bits=10, act_bits=16), [2], counts(2), 74)


def valid_ends_of_ranges() -> Iterator[Vector]:
    """Clamps that are reached and bounds that just hold."""

    def extremes(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        grid = part.latents[0].copy()
        grid[0, 0, :4] = [32767, -32768, 32767, 0]
        return dataclasses.replace(part, latents=(grid, *part.latents[1:]))

    yield "extreme-latents", latent_file(tiny_config(), [1], counts(1), 70, edit=extremes)

    def steps(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        fine = np.random.default_rng(71).integers(-30000, 30000, (8, 8))
        bias = with_synthesis(-1, tensor_of([-65536 * 3], 16))
        return dataclasses.replace(bias(part), upsampling=tensor_of(fine, 16))

    yield "fine-steps", latent_file(tiny_config(sample_frac_bits=12), [2], counts(2), 71, edit=steps)
    yield "unit-0", latent_file(tiny_config(sample_frac_bits=0), [2], counts(2), 72, spread=20)
    for name, bias in (("lowest-scale", -20), ("highest-scale", 20)):
        edit = with_entropy(-1, tensor_of([0, bias * 128], 7))
        yield name, latent_file(tiny_config(), [2], counts(2), 76, edit=edit)

    def far_means(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        """The mean is 40000 times the latent on the left, where that has magnitude 1 or more, so it is clamped."""
        weight = np.zeros((2, 8))
        weight[0, 7] = 40000
        grids = tuple(np.random.default_rng(77).choice([-32768, -5, 0, 0, 2, 32767], g.shape) for g in part.latents)
        entropy = (tensor_of(weight, 0), tensor_of([0, 10], 0))
        return dataclasses.replace(part, entropy=entropy, latents=tuple(grid.astype(np.int16) for grid in grids))

    yield "mean-clamp", latent_file(tiny_config(entropy_depth=0, act_bits=6), [2], counts(2), 77, edit=far_means)

    def loud(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        return dataclasses.replace(part, synthesis=tuple(tensor_of(t.values * 24, t.frac_bits) for t in part.synthesis))

    data = latent_file(tiny_config(channels=2, height=6, width=6), [2], counts(2), 83, spread=4.0, edit=loud)
    samples = rducodec.read(data).stored_samples()
    assert (samples.min(), samples.max()) == (-VALUE_MAX, VALUE_MAX)
    yield "synthesis-clamp", data
    bounds: tuple[tuple[str, dict[str, Any], Edit], ...] = (
        ("entropy-largest-accumulator", {"entropy_depth": 0}, entropy_bound_edit(125)),
        ("upsampling-largest-accumulator", {}, upsampling_bound_edit(0)),
        ("synthesis-largest-accumulator", {}, synthesis_bound_edit(0)),
    )
    for name, fields, edit in bounds:
        yield name, latent_file(tiny_config(**fields), [1], counts(1), 79, spread=0.5, edit=edit)
    yield "latest-end", file_with_end((1 << 33) - 2)
    labels, slices = sections_of(data)
    yield "zero-word-more", with_sections(data, labels, [slices[0] + bytes(4)])  # read as one that is missing would be
    parameters = sum(math.prod(shape) for shape in FULLEST.tensor_shapes())
    assert parameters + FULLEST_SAMPLES == ((8 * 4 + 64) << 15) // 15
    yield "fullest-payload", zeros_file(FULLEST, FULLEST_SAMPLES)


def valid_labels() -> Iterator[Vector]:
    """Classes, slices and orders."""
    yield "slices-and-empty-class", latent_file(tiny_config(), [2, 2, 1, 3], counts(5, 0, 3), 2)
    yield "empty-classes-at-the-ends", latent_file(tiny_config(), [2, 1], counts(0, 0, 3, 0), 2)
    order = np.array([1, 0, 2, 1, 1, 0])
    yield "ordered-labels", latent_file(tiny_config(), [2, 3, 1], rducodec.Labels(np.bincount(order), order), 3)
    order = np.array([2, 0, 0, 2, 0, 0, 2, 2])
    labels = rducodec.Labels(np.bincount(order, minlength=4), order)
    yield "ordered-slices", latent_file(tiny_config(), [2, 1, 1, 3, 1], labels, 4)
    pixels = np.random.default_rng(5).permutation(256)[:7].astype(np.uint8).reshape(7, 1, 1, 1)
    for num_classes in (256, 257):
        order = np.array([num_classes - 1, 3, 3, 0, num_classes - 1, 130, 0])
        labels = rducodec.Labels(np.bincount(order, minlength=num_classes), order)
        yield f"ordered-{num_classes}-classes", pack_plain(pixels, labels, rducodec.RawConfig(False, 8, 255))


def valid_headers() -> Iterator[Vector]:
    """Optional fields, unknown ones, and Zstandard frames of every kind that is allowed."""
    texts = rducodec.Texts(
        name="tiny",
        class_names=("cat", "d\u00f6g"),
        class_ids=(281, 207),
        recipe={"lr": 0.01, "augmentation": "color_crop", "epochs": 1000, "least": -(1 << 63), "most": (1 << 64) - 1},
        licence="CC-BY-4.0",
        source="random integers",
    )
    space = rducodec.ValueSpace("standardised", (0.5, 0.25, 0.125), (0.5, 0.25, 0.125))
    yield "all-texts", latent_file(tiny_config(channels=3), [1, 2], counts(1, 2), 74, texts=texts, space=space)
    base = latent_file(tiny_config(), [1, 1], counts(1, 1), 74)
    yield "unknown-odd-key", with_header(base, put(13, {"a": [1, -2.5, {3: "x", 4: []}], "b": ""}))
    yield "last-odd-key", with_header(base, put((1 << 64) - 1, 0))
    yield "nested-16", with_header(base, put(13, nested(15)))
    yield "empty-recipe", with_header(base, put(7, {}))
    for name, names in (
        ("class-names-fold", ["Stra\u00dfe", "strasse", "\u00c9t\u00e9", "\u00e9t\u00e9"]),  # equal only beyond A-Z
        ("class-names-odd", ["\u00a0x", "con", "a" * 255, "a\u0301-b. c"]),
    ):
        four = latent_file(tiny_config(), [1] * 4, counts(1, 1, 1, 1), 74)
        yield name, with_header(four, put(3, names))
    many = rducodec.Texts(class_names=tuple(f"class number {i}" for i in range(40)))
    compressed = latent_file(tiny_config(), [1] * 40, counts(*[1] * 40), 75, texts=many)
    yield "compressed-header", compressed
    content = rducodec.read(base).container.header
    frame = zstandard.ZstdCompressor().compress(content)
    no_dictionary = frame[:4] + bytes([frame[4] | 1, 0]) + frame[5:]  # a Dictionary_ID of one byte, 0
    pieces = zstandard.ZstdCompressor().compressobj(size=len(content))
    blocks = pieces.compress(content[:9]) + pieces.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    blocks += pieces.compress(content[9:]) + pieces.flush()
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    for name, stored in (("checksum", checked), ("dictionary-0", no_dictionary), ("blocks", blocks)):
        yield f"zstd-{name}", with_stored_header(base, struct.pack("<I", len(content)) + stored)
    stored = stored_header(compressed)
    assert stored[8] == 0b01100000  # single segment, content size of two bytes
    yield "zstd-window", with_stored_header(compressed, stored[:8] + b"\x40\x00" + stored[9:])
    order = np.array([1, 0, 2, 1, 1, 0])
    ordered = latent_file(tiny_config(), [2, 3, 1], rducodec.Labels(np.bincount(order), order), 3)
    labels, slices = sections_of(ordered)
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(order.tolist()))
    yield "zstd-labels-checksum", with_sections(ordered, labels[:7] + checked, slices)


def valid_raw() -> Iterator[Vector]:
    """Files of the raw profile."""
    rng = np.random.default_rng(80)
    order = np.array([0, 1, 1, 0, 3])
    labels = rducodec.Labels(np.bincount(order), order)
    smooth = np.cumsum(rng.integers(-1, 2, (5, 3, 6, 7)), axis=3) + 100
    for bits in (1, 3, 8, 11, 16):
        samples = (smooth % (1 << bits)).astype(np.uint16)
        config = rducodec.RawConfig(is_float=False, bits=bits, divisor=(1 << bits) - 1)
        yield f"raw-{bits}-bits", pack_plain(samples, labels, config, space=rducodec.ValueSpace())
    noise = rng.integers(0, 256, (2, 1, 5, 5)).astype(np.uint8)
    yield "raw-noise", pack_plain(noise, counts(2), rducodec.RawConfig(False, 8, 255))
    above = np.repeat(np.arange(40)[None, None, :, None] * 5 % 256, 30, axis=3) + rng.integers(0, 9, (1, 1, 1, 30))
    yield "raw-above", pack_plain(above.astype(np.uint8), counts(1), rducodec.RawConfig(False, 8, 255))
    for bits, dtype in ((16, np.float16), (32, np.float32)):
        samples = rng.normal(size=(4, 1, 3, 5)).astype(dtype)
        config = rducodec.RawConfig(is_float=True, bits=bits)
        space = rducodec.ValueSpace("zca", text="eps 0.1, fitted on 50000 images")
        yield f"raw-float{bits}", pack_plain(samples, counts(1, 3), config, slice_size=2, space=space)
    yield from valid_raw_methods()


def valid_raw_methods() -> Iterator[Vector]:
    """Every method with numbers of every size: a slice of two samples for each of the 12."""
    rng = np.random.default_rng(81)
    methods = [predictor + 4 * layout + 8 * coding for predictor in range(3) for layout in (0, 1) for coding in (0, 1)]
    order = rng.permutation(np.repeat([0, 2, 3], [10, 8, 6]))
    labels = rducodec.Labels(np.bincount(order, minlength=5), order)
    types = [(False, 1), (False, 3), (False, 8), (False, 11), (False, 16), (True, 16), (True, 32)]
    for is_float, bits in types:
        config = rducodec.RawConfig(is_float, bits)
        if is_float:
            samples = rng.normal(size=(24, 3, 3, 5)).astype(f"<f{bits // 8}")
        else:
            samples = rng.integers(0, 1 << bits, (24, 3, 3, 5)).astype(np.uint16)
        data = raw_file(samples, labels, config, methods, slice_size=2)
        assert np.array_equal(rducodec.read(data).stored_samples(), samples[labels.file_positions()])
        yield f"raw-methods-{'float' * is_float}{bits}", data
