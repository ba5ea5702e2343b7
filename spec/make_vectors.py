"""Write the test vectors and the generated parts of the specification.

    python spec/make_vectors.py            # spec/vectors/valid, spec/vectors/invalid, parts of rdd-format.md

Every vector is a small file `NAME.rdd` with `NAME.json` beside it: the expected fields, or the expected error.
Published vectors never change; a new format version adds a folder.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zstandard

import rducodec
from rducodec.bitstream import container
from rducodec.bitstream.header import pack_header
from rducodec.digest import SLICE_CHECK_BYTES
from rducodec.entropy import tables
from rducodec.labels import pack_labels

HERE = Path(__file__).parent
Vector = tuple[str, bytes]
Invalid = tuple[str, bytes, str, str]  # name, file, error class, part of the message


def random_slice(
    config: rducodec.LatentConfig, num_samples: int, rng: np.random.Generator, *, spread: float = 1.0
) -> rducodec.LatentSlice:
    """A slice of plausible random integers; `spread` is the scale of the latents."""
    latents = tuple(
        np.clip(np.rint(rng.laplace(scale=spread, size=(num_samples, h, w))), -32768, 32767).astype(np.int16)
        for h, w in config.grid_shapes()
    )

    def tensor(shape: tuple[int, ...], size: float, frac_bits: int) -> rducodec.QuantizedTensor:
        values = np.rint(rng.normal(scale=size, size=shape) * 2**frac_bits).astype(np.int32)
        return rducodec.QuantizedTensor(values, frac_bits)

    entropy = tuple(tensor(shape, 0.15, 7) for shape in config.entropy_shapes())
    scale_bias = np.array([0, round((4 + np.log(max(spread, 0.1))) * 128)], np.int32)
    entropy = (*entropy[:-1], rducodec.QuantizedTensor(scale_bias, 7))
    bits = {1: 12, 2: 10, 4: 11}
    synthesis = tuple(
        tensor(shape, 0.5 / np.sqrt(np.prod(shape[1:])), bits[len(shape)]) for shape in config.synthesis_shapes()
    )
    return rducodec.LatentSlice(latents, entropy, tensor((8, 8), 0.2, 9), synthesis)


def latent_file(
    config: rducodec.LatentConfig,
    slice_sizes: list[int],
    labels: rducodec.Labels,
    seed: int,
    *,
    spread: float = 1.0,
    edit: Callable[[rducodec.LatentSlice], rducodec.LatentSlice] = lambda part: part,
    **fields: Any,
) -> bytes:
    """A file of the latent profile with random slices of these sizes."""
    rng = np.random.default_rng(seed)
    slices = [edit(random_slice(config, size, rng, spread=spread)) for size in slice_sizes]
    return rducodec.pack_latent(slices, labels, config, **fields)


def counts(*values: int) -> rducodec.Labels:
    """Labels without an order."""
    return rducodec.Labels(np.array(values))


def tiny_config(**changes: Any) -> rducodec.LatentConfig:
    """The smallest useful geometry, with some fields changed."""
    base = {"channels": 1, "height": 4, "width": 4, "num_scales": 2, "context_size": 8, "entropy_depth": 1}
    return rducodec.LatentConfig(**(base | {"synthesis_widths": (3,)} | changes))


def worked_example() -> bytes:
    """The file of section 16: two 2 x 2 samples of one class, no hidden layers."""
    config = rducodec.LatentConfig(
        channels=1, height=2, width=2, num_scales=1, context_size=8, entropy_depth=0, synthesis_widths=()
    )
    zeros = rducodec.QuantizedTensor(np.zeros((2, 8), np.int32), 0)
    part = rducodec.LatentSlice(
        latents=(np.array([[[0, 1], [-1, 2]], [[3, 0], [0, -9]]], np.int16),),
        entropy=(zeros, rducodec.QuantizedTensor(np.array([0, 4], np.int32), 0)),
        upsampling=rducodec.QuantizedTensor(np.zeros((8, 8), np.int32), 0),
        synthesis=(
            rducodec.QuantizedTensor(np.array([[1]], np.int32), 2),
            rducodec.QuantizedTensor(np.array([1], np.int32), 1),
            *(
                rducodec.QuantizedTensor(np.zeros(shape, np.int32), 0)
                for shape in ((1, 1, 3, 3), (1,), (1, 1, 3, 3), (1,))
            ),
        ),
    )
    return rducodec.pack_latent([part], counts(2), config, space=rducodec.ValueSpace())


def valid() -> Iterator[Vector]:
    """All files that a decoder must read."""
    yield "worked-example", worked_example()
    cifar = rducodec.LatentConfig(3, 8, 8, 4, 16, 2, (6,))
    yield "two-classes", latent_file(cifar, [3, 3], counts(3, 3), 1, space=rducodec.ValueSpace())
    yield (
        "slices-and-empty-class",
        latent_file(tiny_config(), [2, 2, 1, 3], counts(5, 0, 3), 2),
    )
    order = np.array([1, 0, 2, 1, 1, 0])
    yield "ordered-labels", latent_file(tiny_config(), [2, 3, 1], rducodec.Labels(np.bincount(order), order), 3)
    for context_size in (8, 16, 24, 32):
        config = tiny_config(height=9, width=11, num_scales=3, context_size=context_size)
        yield f"context-{context_size}", latent_file(config, [2], counts(2), context_size)
    for depth in range(5):
        config = tiny_config(entropy_depth=depth, height=6, width=5)
        yield f"depth-{depth}", latent_file(config, [2], counts(2), 40 + depth)
    for widths in ((), (4,), (5, 3), (3, 4, 2)):
        config = tiny_config(synthesis_widths=widths, channels=3)
        yield "widths-" + "-".join(map(str, widths or (0,))), latent_file(config, [2], counts(2), 50 + len(widths))
    shapes = ((1, 1, 1, 1), (1, 1, 7, 3), (2, 7, 1, 8), (4, 13, 5, 3), (3, 16, 16, 5), (1, 3, 3, 8))
    for channels, height, width, scales in shapes:
        config = tiny_config(channels=channels, height=height, width=width, num_scales=scales)
        name = f"shape-{channels}x{height}x{width}-scales-{scales}"
        yield name, latent_file(config, [2], counts(2), height * width)
    for spread in (0.05, 6.0, 60.0, 3000.0):
        config = tiny_config(height=8, width=8, act_bits=20)
        yield f"spread-{spread:g}", latent_file(config, [2], counts(2), 60, spread=spread)

    def extremes(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        grid = part.latents[0].copy()
        grid[0, 0, :4] = [32767, -32768, 32767, 0]
        return dataclasses.replace(part, latents=(grid, *part.latents[1:]))

    yield "extreme-latents", latent_file(tiny_config(), [1], counts(1), 70, edit=extremes)

    def steps(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        rng = np.random.default_rng(71)
        fine = rducodec.QuantizedTensor(rng.integers(-30000, 30000, (8, 8)).astype(np.int32), 16)
        bias = rducodec.QuantizedTensor(np.array([-65536 * 3], np.int32), 16)
        return dataclasses.replace(part, upsampling=fine, synthesis=(*part.synthesis[:-1], bias))

    yield "fine-steps", latent_file(tiny_config(sample_frac_bits=12), [2], counts(2), 71, edit=steps)
    yield "unit-0", latent_file(tiny_config(sample_frac_bits=0), [2], counts(2), 72, spread=5)
    yield "float64-network", latent_file(tiny_config(act_frac_bits=10, act_bits=16), [2], counts(2), 73)
    texts = rducodec.Texts(
        name="tiny",
        class_names=("cat", "d\u00f6g"),
        class_ids=(281, 207),
        recipe={"lr": 0.01, "augmentation": "color_crop", "epochs": 1000},
        licence="CC-BY-4.0",
        source="random integers",
    )
    space = rducodec.ValueSpace("standardised", (0.5, 0.25, 0.125), (0.5, 0.25, 0.125))
    config = tiny_config(channels=3)
    yield "all-texts", latent_file(config, [1, 2], counts(1, 2), 74, texts=texts, space=space)
    many = rducodec.Texts(class_names=tuple(f"class number {i}" for i in range(40)))
    yield "compressed-header", latent_file(tiny_config(), [1] * 40, counts(*[1] * 40), 75, texts=many)
    yield from valid_raw()


def valid_raw() -> Iterator[Vector]:
    """Files of the raw profile."""
    rng = np.random.default_rng(80)
    order = np.array([0, 1, 1, 0, 3])
    labels = rducodec.Labels(np.bincount(order), order)
    smooth = np.cumsum(rng.integers(-1, 2, (5, 3, 6, 7)), axis=3) + 100
    for bits in (1, 3, 8, 11, 16):
        samples = (smooth % (1 << bits)).astype(np.uint16)
        config = rducodec.RawConfig(is_float=False, bits=bits, divisor=(1 << bits) - 1)
        yield f"raw-{bits}-bits", rducodec.pack_raw(samples, labels, config, space=rducodec.ValueSpace())
    noise = rng.integers(0, 256, (2, 1, 5, 5)).astype(np.uint8)
    yield "raw-noise", rducodec.pack_raw(noise, counts(2), rducodec.RawConfig(False, 8, 255))
    above = np.repeat(np.arange(40)[None, None, :, None] * 5 % 256, 30, axis=3) + rng.integers(0, 9, (1, 1, 1, 30))
    yield "raw-above", rducodec.pack_raw(above.astype(np.uint8), counts(1), rducodec.RawConfig(False, 8, 255))
    for bits, dtype in ((16, np.float16), (32, np.float32)):
        samples = rng.normal(size=(4, 1, 3, 5)).astype(dtype)
        config = rducodec.RawConfig(is_float=True, bits=bits)
        space = rducodec.ValueSpace("zca", text="eps 0.1, fitted on 50000 images")
        yield f"raw-float{bits}", rducodec.pack_raw(samples, counts(1, 3), config, slice_size=2, space=space)


def resealed(data: bytes, *, length: bool = True) -> bytes:
    """The file with its length and file check made to fit its bytes again: damage that a digest cannot see."""
    data = bytearray(data)
    if length:
        data[16:24] = struct.pack("<Q", len(data))
    data[40:48] = hashlib.sha256(data[:40] + data[48:]).digest()[:8]
    return bytes(data)


def with_header(data: bytes, change: Callable[[dict[int, Any]], Any]) -> bytes:
    """The file with its (plain) header changed as a MessagePack map, or replaced by the bytes that `change` gives."""
    end = 48 + struct.unpack_from("<I", data, 12)[0]
    fields = msgpack.unpackb(data[48:end], strict_map_key=False)
    changed = change(fields)
    packed = changed if isinstance(changed, bytes) else msgpack.packb(dict(sorted(fields.items())))
    return resealed(data[:12] + struct.pack("<I", len(packed)) + data[16:48] + packed + data[end:])


def put(key: int, value: Any) -> Callable[[dict[int, Any]], None]:
    """A change that sets one header field."""
    return lambda fields: fields.__setitem__(key, value)


def parameter(index: int, value: Any) -> Callable[[dict[int, Any]], None]:
    """A change that sets one of the parameters of the profile."""
    return lambda fields: fields[10].__setitem__(index, value)


def invalid() -> Iterator[Invalid]:
    """Files that a decoder must refuse, with digests that fit wherever the fault is not the digest itself."""
    good = dict(valid())
    base = good["two-classes"]
    corrupt, version, limit = "RddFormatError", "RddVersionError", "RddLimitError"
    yield "empty", b"", "RddTruncatedError", "0 bytes"
    yield "only-magic", base[:8], "RddTruncatedError", "8 bytes"
    yield "half-prefix", base[:30], "RddTruncatedError", "30 bytes"
    yield "cut-in-half", base[: len(base) // 2], "RddTruncatedError", "declared"
    yield "one-byte-short", base[:-1], "RddTruncatedError", "declared"
    yield "one-byte-more", base + b"\0", corrupt, "more follow"
    yield "two-files", base + base, corrupt, "more follow"
    yield "flipped-bit", base[:-9] + bytes([base[-9] ^ 4]) + base[-8:], "RddChecksumError", "digest"
    yield "text-mode", base.replace(b"\r\n", b"\n"), corrupt, "text-mode"
    yield "html-page", b"<!DOCTYPE html><title>404</title>", corrupt, "HTML"
    yield "lfs-pointer", b"version https://git-lfs.github.com/spec/v1\n", corrupt, "git-LFS"
    yield "gzip", b"\x1f\x8b\x08\x00" + bytes(20), corrupt, "gzip"
    yield "major-1", resealed(base[:8] + b"\x01" + base[9:]), version, "format version 1"
    yield "minor-2", resealed(base[:9] + b"\x02" + base[10:]), version, "format version 0.2"
    yield "unknown-flag", resealed(base[:10] + b"\x02" + base[11:]), version, "flags"
    yield "reserved-byte", resealed(base[:11] + b"\x01" + base[12:]), version, "flags"
    yield "length-wraps", resealed(base[:16] + b"\xff" * 8 + base[24:], length=False), "RddTruncatedError", "declared"
    yield "header-4-gib", resealed(base[:12] + b"\xff" * 4 + base[16:]), corrupt, "header of"
    yield from invalid_headers(base, good)
    yield from invalid_sections(base, good)
    del limit


def invalid_headers(base: bytes, good: dict[str, bytes]) -> Iterator[Invalid]:
    """Faults in the header."""
    corrupt, version, limit = "RddFormatError", "RddVersionError", "RddLimitError"
    compressed = good["compressed-header"]
    end = 48 + struct.unpack_from("<I", compressed, 12)[0]

    def stored(content: bytes) -> bytes:
        head = compressed[:12] + struct.pack("<I", len(content)) + compressed[16:48]
        return resealed(head + content + compressed[end:])

    size, frame = struct.unpack("<I", compressed[48:52])[0], compressed[52:end]
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    yield "zstd-bomb", stored(struct.pack("<I", size) + bomb), corrupt, "declares"
    yield "zstd-bomb-declared", stored(struct.pack("<I", 1 << 26) + bomb), limit, "max_header_bytes"
    yield "zstd-unsized", stored(struct.pack("<I", size) + unsized), corrupt, "declares"
    yield "zstd-skippable", stored(struct.pack("<I", size) + skippable + frame), corrupt, "not a Zstandard frame"
    yield "zstd-two-frames", stored(struct.pack("<I", size) + frame + frame), corrupt, "Zstandard"
    yield "zstd-cut", stored(struct.pack("<I", size) + frame[:-3]), corrupt, "Zstandard"
    yield "header-not-a-map", with_header(base, lambda _: b"\x93\x01\x02\x03"), corrupt, "map"
    yield "header-garbage", with_header(base, lambda _: b"\xc1\xc1\xc1"), corrupt, "MessagePack"
    yield "header-nested", with_header(base, lambda _: b"\x91" * 5000 + b"\x00"), corrupt, "MessagePack"
    yield "header-empty-lists", with_header(base, lambda _: b"\xdd\x00\x00\x80\x00" + b"\x90" * 32768), corrupt, "map"
    text = with_header(base, lambda f: msgpack.packb({k: f[k] for k in f} | {1: "x"}).replace(b"\xa1x", b"\xa1\xff"))
    yield "header-not-utf8", text, corrupt, "MessagePack"
    reverse = with_header(base, lambda f: msgpack.packb(dict(sorted(f.items(), reverse=True))))
    yield "header-unsorted", reverse, corrupt, "increasing"
    twice = with_header(base, lambda f: b"\x88" + msgpack.packb(f)[1:] + b"\x0c\x91\x00")
    yield "header-duplicate-key", twice, corrupt, "increasing"
    long_form = with_header(base, lambda f: msgpack.packb(f).replace(b"\x02\x02\x04", b"\x02\xcc\x02\x04", 1))
    yield "header-long-integer", long_form, corrupt, "canonical"
    extension = with_header(base, lambda f: msgpack.packb(f | {1: msgpack.ExtType(5, b"ab")}))
    yield "header-extension", extension, corrupt, "MessagePack"
    for key in (0, 2, 4, 6, 8, 10):
        yield f"missing-key-{key}", with_header(base, lambda f, key=key: f.pop(key) and None), corrupt, f"key {key}"
    wrong: list[tuple[str, Callable[[dict[int, Any]], Any], str, str]] = [
        ("unknown-critical-key", put(14, 1), version, "critical key 14"),
        ("negative-key", put(-1, 1), corrupt, "negative"),
        ("profile-2", put(0, 2), version, "profile 2"),
        ("bool-for-int", put(2, True), corrupt, "bool"),
        ("float-for-int", put(2, 2.0), corrupt, "float"),
        ("bytes-for-text", put(1, b"x"), corrupt, "bytes"),
        ("empty-text", put(1, ""), corrupt, "empty"),
        ("nul-in-text", put(1, "a\0b"), corrupt, "NUL"),
        ("no-classes", put(2, 0), corrupt, "key 2"),
        ("too-many-classes", put(2, 65536), corrupt, "key 2"),
        ("zero-height", put(4, [3, 0, 8]), corrupt, "key 4"),
        ("negative-width", put(4, [3, 8, -8]), corrupt, "key 4"),
        ("two-dimensions", put(4, [8, 8]), corrupt, "key 4"),
        ("petabyte", put(4, [65535, 2048, 2048]), limit, "max_output_bytes"),
        ("huge-sample", put(4, [3, 65535, 65535]), limit, "max_sample_pixels"),
        ("huge-slice", put(6, [2**31 - 1, 2]), limit, "max_output_bytes"),
        ("hours-of-work", parameter(3, [65535] * 8), limit, "max_work"),
        ("odd-runs", put(6, [3]), corrupt, "pairs"),
        ("empty-slice", put(6, [0, 2]), corrupt, "key 6"),
        ("split-runs", put(6, [3, 1, 3, 1]), corrupt, "equal size"),
        ("run-of-billions", put(6, [3, 2**31 - 1]), corrupt, "slice sections"),
        ("one-slice-more", put(6, [3, 3]), corrupt, "slice sections"),
        ("section-gap", lambda f: f[8].__setitem__(1, f[8][1] - 1), corrupt, "declared"),
        ("section-past-end", lambda f: f[8].__setitem__(2, f[8][2] + 1), corrupt, "declared"),
        ("section-wraps", lambda f: f[8].__setitem__(1, 2**63 - 1), corrupt, "declared"),
        ("section-zero", lambda f: f[8].__setitem__(0, 0), corrupt, "key 8"),
        ("no-scales", parameter(0, 0), corrupt, "key 10"),
        ("nine-scales", parameter(0, 9), corrupt, "key 10"),
        ("context-12", parameter(1, 12), version, "context"),
        ("depth-5", parameter(2, 5), corrupt, "key 10"),
        ("zero-width-layer", parameter(3, [0]), corrupt, "key 10"),
        ("act-frac-bits-13", parameter(4, 13), corrupt, "key 10"),
        ("act-bits-21", parameter(5, 21), corrupt, "key 10"),
        ("sample-frac-bits-17", parameter(6, 17), corrupt, "key 10"),
        ("eight-parameters", lambda f: f[10].append(0), corrupt, "key 10"),
        ("space-4", put(12, [4]), version, "value space 4"),
        ("space-empty", put(12, []), corrupt, "key 12"),
        ("space-nan", put(12, [1, [0.5, 0.5, float("nan")], [1.0, 1.0, 1.0]]), corrupt, "finite"),
        ("space-zero-std", put(12, [1, [0.5] * 3, [1.0, 0.0, 1.0]]), corrupt, "deviation"),
        ("space-two-channels", put(12, [1, [0.5] * 2, [1.0] * 2]), corrupt, "floats"),
        ("class-ids-short", put(5, [1]), corrupt, "class ids"),
        ("class-names-short", put(3, ["a"]), corrupt, "class names"),
        ("recipe-nan", put(7, {"lr": float("nan")}), corrupt, "finite"),
        ("recipe-list", put(7, {"lr": [1]}), corrupt, "recipe"),
    ]
    names = ("../x", "/etc/x", "C:\\x", "a\0b", "a\nb", "-x", ".", "x" * 300, " a", "a ", "a.", "")
    for index, name in enumerate(names):
        wrong.append((f"class-name-{index}", put(3, [name, "ok"]), corrupt, "class name 0"))
    wrong.append(("class-names-fold", put(3, ["Tabby cat", "tabby Cat"]), corrupt, "repeats"))
    for name, change, error, message in wrong:
        yield name, with_header(base, change), error, message


def invalid_sections(base: bytes, good: dict[str, bytes]) -> Iterator[Invalid]:
    """Faults in the labels and the slices."""
    corrupt = "RddFormatError"
    header = rducodec.read(base).header
    begin = len(base) - sum(header.slice_bytes) - header.labels_bytes

    def with_sections(labels: bytes, slices: list[bytes], source: bytes = base) -> bytes:
        changed = dataclasses.replace(
            rducodec.read(source).header,
            labels_bytes=len(labels),
            slice_bytes=tuple(len(part) for part in slices),
        )
        digest = source[24:40]
        return container.pack_container(pack_header(changed), [labels, *slices], digest)

    def sections(source: bytes) -> tuple[bytes, list[bytes]]:
        dataset = rducodec.read(source)
        parts = [source[e.offset_bytes : e.offset_bytes + e.num_bytes] for e in dataset.slices]
        return pack_labels(dataset.label_set), parts

    labels, slices = sections(base)
    del begin
    for name, bad, message in (
        ("labels-kind-2", b"\x02" + labels[1:], "kind 2"),
        ("labels-cut", labels[:-1], "cut off"),
        ("labels-trailing", labels + b"\0", "too many"),
        ("labels-too-few", b"\0\x02\x02", "samples"),
        ("labels-too-many", b"\0\x04\x02", "samples"),
        ("labels-run-of-0", b"\0\x03\x00", "run of 0"),
        ("labels-run-too-long", b"\0\x03\x03", "run of 3"),
        ("labels-split-run", b"\0\x03\x01\x03\x01", "run of 1"),
        ("labels-long-varint", b"\0\x83\x00\x02", "longer than needed"),
        ("labels-endless-varint", b"\0" + b"\xff" * 10, "longer than 9"),
        ("slice-crosses-class", b"\0\x02\x01\x04\x01", "cross"),
    ):
        yield name, with_sections(bad, slices), corrupt, message
    ordered_labels, ordered_slices = sections(good["ordered-labels"])
    runs = ordered_labels[:7]
    for name, order, message in (
        ("order-wrong-counts", [0, 0, 0, 1, 1, 2], "counts"),
        ("order-unknown-class", [1, 0, 9, 1, 1, 0], "counts"),
    ):
        frame = zstandard.ZstdCompressor(level=19).compress(bytes(order))
        yield name, with_sections(runs + frame, ordered_slices, good["ordered-labels"]), corrupt, message
    cut = zstandard.ZstdCompressor(level=19).compress(bytes([1, 0, 2, 1, 1]))
    yield "order-too-short", with_sections(runs + cut, ordered_slices, good["ordered-labels"]), corrupt, "declares"

    first, second = slices
    check, payload = first[:SLICE_CHECK_BYTES], first[SLICE_CHECK_BYTES:]
    rng = np.random.default_rng(90)
    noise = rng.integers(0, 256, len(payload)).astype(np.uint8).tobytes()
    for name, bad, error, message in (
        ("payload-part-of-word", first + b"\0", corrupt, "multiple of 4"),
        ("payload-words-left", first + b"\x01\0\0\0" * 4, corrupt, "does not end"),
        ("payload-empty", check, corrupt, "only 4 bytes"),
        ("payload-cut", first[:-8], corrupt, ""),
        ("payload-too-small", check + payload[:4], corrupt, ""),
        ("payload-zeros", check + bytes(len(payload)), corrupt, ""),
        ("payload-ones", check + b"\xff" * len(payload), corrupt, ""),
        ("payload-noise", check + noise, corrupt, ""),
        ("slice-check", b"\0\0\0\0" + payload, "RddDigestError", "slice 0"),
    ):
        yield name, with_sections(labels, [bad, second]), error, message
    wrong_digest = resealed(base[:24] + bytes(16) + base[40:])
    yield "sample-digest", wrong_digest, "RddDigestError", "samples and labels"
    swapped = with_sections(labels, [second, first])
    yield "slices-swapped", swapped, "RddDigestError", "samples and labels"
    yield from invalid_networks()
    yield from invalid_raw(good, with_sections, sections)


def invalid_networks() -> Iterator[Invalid]:
    """Networks whose integers could leave their exact range; written by an encoder whose checks are switched off."""
    from rducodec import writer  # noqa: PLC0415 - only to bypass its checks
    from rducodec.entropy.plain_coder import Encoder
    from rducodec.entropy.range_coder import RangeEncoder

    config = tiny_config()
    part = random_slice(config, 1, np.random.default_rng(91))

    def file(entropy_edit: Any = None, **changes: Any) -> bytes:
        tensors = list(part.tensors())
        if entropy_edit:
            tensors[entropy_edit[0]] = entropy_edit[1]
        names = {"upsampling": len(config.entropy_shapes())}
        for name, tensor in changes.items():
            tensors[names[name]] = tensor
        encoder: Encoder = RangeEncoder()
        from rducodec.weights import encode_tensors

        encode_tensors(encoder, tensors)
        payload = encoder.finish() + b"\x55" * 40
        samples = [np.zeros((1, 1, 4, 4), np.int32)]
        return writer._assemble(config, (1, 4, 4), counts(1), samples, [payload], None, rducodec.Texts())

    big = rducodec.QuantizedTensor(np.full((8, 8), 2**22, np.int32), 1)
    yield "entropy-accumulator", file((0, big)), "RddFormatError", "accumulator"
    fine = rducodec.QuantizedTensor(np.zeros(8, np.int32), 16)
    yield "entropy-bias-too-fine", file((1, fine)), "RddFormatError", "fractional bits"
    wide = rducodec.QuantizedTensor(np.full((8, 8), 2**23, np.int32), 0)
    yield "upsampling-accumulator", file(upsampling=wide), "RddFormatError", ""


def invalid_raw(good: dict[str, bytes], with_sections: Any, sections: Any) -> Iterator[Invalid]:
    """Faults in slices of the raw profile."""
    corrupt = "RddFormatError"
    labels, slices = sections(good["raw-3-bits"])
    first = slices[0]
    for name, bad, message in (
        ("raw-method-3", first[:4] + b"\x03" + first[5:], "method"),
        ("raw-method-255", first[:4] + b"\xff" + first[5:], "method"),
        ("raw-stored-short", first[:4] + b"\0\0\0", "stored"),
        ("raw-value-too-large", first[:4] + b"\0" + b"\x08" * (2 * 3 * 6 * 7), "allowed"),
    ):
        yield name, with_sections(labels, [bad, *slices[1:]], good["raw-3-bits"]), corrupt, message
    labels, slices = sections(good["raw-float16"])
    nan = slices[0][:4] + b"\0" + b"\xff" * (2 * 15)
    yield "raw-nan", with_sections(labels, [nan, *slices[1:]], good["raw-float16"]), corrupt, "finite"
    bits = with_header(good["raw-float16"], lambda f: f[10].__setitem__(1, 24))
    yield "raw-float-24", bits, corrupt, "key 10"


def expectation(data: bytes) -> dict[str, Any]:
    """What a decoder must deliver for a file."""
    dataset = rducodec.read(data)
    stored = dataset.stored_samples()
    exact = stored.astype("<i4") if stored.dtype.kind != "f" else stored
    header = dataset.header
    return {
        "shape": list(stored.shape),
        "num_classes": header.num_classes,
        "labels": dataset.labels.tolist(),
        "samples_sha256": hashlib.sha256(exact.tobytes()).hexdigest(),
        "first_samples": exact.reshape(-1)[:8].tolist(),
        "sample_digest": dataset.sample_digest.hex(),
        "config": dataclasses.asdict(dataset.config),
        "space": None if header.space is None else dataclasses.asdict(header.space),
        "texts": dataclasses.asdict(header.texts),
    }


def tables_sha256() -> str:
    """Digest of all frequencies, as section 9 defines it."""
    rows = (tables.primary_table(), tables.tail_table(), tables.exponent_row())
    return hashlib.sha256(b"".join((row.astype(np.int64) + 1).astype("<u4").tobytes() for row in rows)).hexdigest()


def annotated_example() -> str:
    """The worked example in hex, field by field."""
    data = worked_example()
    dataset = rducodec.read(data)
    header_end = dataset.container.body_offset
    labels_end = header_end + dataset.header.labels_bytes
    fields = [
        (0, 8, "magic"),
        (8, 10, "major 0, minor 1"),
        (10, 12, "flags 0, reserved"),
        (12, 16, "header_bytes"),
        (16, 24, "file_bytes"),
        (24, 40, "sample_digest"),
        (40, 48, "file_check"),
        (48, 49, "header: map of 7 fields"),
    ]
    place = 49
    names = {
        0: "profile: latent",
        2: "num_classes: 1",
        4: "shape: 1 channel, 2 x 2",
        6: "slice_sizes: one slice of 2 samples",
        8: "section_bytes: labels, slice 0",
        10: "parameters: 1 scale, context 8, depth 0, no widths, 6 and 12 activation bits, 16 fractional bits",
        12: "space: pixels",
    }
    content = msgpack.unpackb(data[48:header_end], strict_map_key=False)
    for key, value in content.items():
        size = len(msgpack.packb(key)) + len(msgpack.packb(value))
        fields.append((place, place + size, f"key {key}, {names[key]}"))
        place += size
    fields += [
        (header_end, header_end + 1, "labels section: kind 0, no order"),
        (header_end + 1, labels_end, "2 samples in each of 1 class"),
        (labels_end, labels_end + 4, "slice 0: sample_check"),
        (labels_end + 4, len(data), "slice 0: payload, words of 4 bytes"),
    ]
    lines = ["```"]
    for begin, end, meaning in fields:
        for row in range(begin, end, 8):
            text = data[row : min(row + 8, end)].hex(" ")
            lines.append(f"{row:5}  {text:<24} {meaning if row == begin else ''}".rstrip())
    lines.append("```")
    samples = dataset.stored_samples().reshape(2, 4).tolist()
    latents = dataset.latent_slices()[0].latents[0].reshape(2, 4).tolist()
    lines += [
        "",
        f"The latents are {latents[0]} and {latents[1]}, row by row. The network has only zeros but for the bias 4 of its second output, so every latent",
        "has mean 0 and scale index 74 (b = 1). The synthesis has the one weight 1/4 and the bias 1/2; its 3 x 3 layers keep what they get, but the first of them is a",
        f"ReLU. The samples, in units of 2^-16, are {samples[0]} and {samples[1]}.",
    ]
    return "\n".join(lines)


def annex() -> str:
    """All constants, in lines of four rows."""
    with (HERE / "laplace_constants.csv").open() as stream:
        rows = [f"{r['scale_index']:>3}: {r['ratio']:>10} {r['golomb_order']}" for r in csv.DictReader(stream)]
    return "\n".join(["```", *("   ".join(rows[i : i + 5]) for i in range(0, len(rows), 5)), "```"])


def fill_in(text: str) -> str:
    """The specification with its generated parts."""
    parts = {"TABLES_SHA256": tables_sha256(), "WORKED_EXAMPLE": annotated_example(), "ANNEX_A": annex()}
    for name, content in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        tail = rest.partition(end)[2]
        newline = "" if "\n" not in content else "\n"
        text = head + begin + newline + content + newline + end + tail
    return text


def main() -> None:
    """Write everything."""
    for folder in ("valid", "invalid"):
        (HERE / "vectors" / folder).mkdir(parents=True, exist_ok=True)
        for old in (HERE / "vectors" / folder).iterdir():
            old.unlink()
    for name, data in valid():
        (HERE / "vectors" / "valid" / f"{name}.rdd").write_bytes(data)
        text = json.dumps(expectation(data), indent=1, sort_keys=True)
        (HERE / "vectors" / "valid" / f"{name}.json").write_text(text + "\n")
    for name, data, error, message in invalid():
        (HERE / "vectors" / "invalid" / f"{name}.rdd").write_bytes(data)
        text = json.dumps({"error": error, "message": message}, sort_keys=True)
        (HERE / "vectors" / "invalid" / f"{name}.json").write_text(text + "\n")
    document = HERE / "rdd-format.md"
    document.write_text(fill_in(document.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
