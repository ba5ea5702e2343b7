"""The test vectors that a decoder must refuse.

Digests fit wherever the fault is not the digest itself. `broken_by_one_rule` makes files in which everything but one
rule holds: a decoder that forgets the rule finds samples of the right digest.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import msgpack
import numpy as np
import zstandard

import rducodec
from rducodec import weights
from rducodec.bitstream import header as headers
from rducodec.digest import SLICE_CHECK_BYTES
from rducodec.entropy import network as entropy_network
from rducodec.entropy import symbols
from rducodec.synthesis import network as synthesis_network
from spec.vector_tools import (
    CORRUPT,
    TOO_LARGE,
    UNSUPPORTED,
    WRONG_SAMPLES,
    Change,
    Edit,
    Invalid,
    Tensors,
    changed,
    counts,
    entropy_bound_edit,
    file_with_end,
    latent_file,
    nested,
    parameter,
    put,
    random_slice,
    raw_file,
    resealed,
    sections_of,
    stored_header,
    synthesis_bound_edit,
    tensor_of,
    tiny_config,
    unread_file,
    upsampling_bound_edit,
    with_entropy,
    with_header,
    with_sections,
    with_stored_header,
    with_synthesis,
    with_upsampling,
    zeros_file,
)
from spec.vectors_valid import FULLEST, FULLEST_SAMPLES

WIDEST = 65535


def invalid(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Files that a decoder must refuse; `good` are the valid vectors."""
    config = tiny_config(channels=3, entropy_depth=0)
    base = latent_file(config, [3, 3], counts(3, 3), 1, space=rducodec.ValueSpace())
    yield from invalid_prefixes(base)
    yield from invalid_header_bytes(base, good["compressed-header"])
    yield from invalid_fields(base)
    yield from invalid_raw_fields(good)
    yield from wrong_order_of_checks(base)
    yield from invalid_labels(base, good["ordered-labels"])
    yield from invalid_payloads(base)
    yield from broken_by_one_rule()
    yield from invalid_raw(good)


def invalid_prefixes(base: bytes) -> Iterator[Invalid]:
    """Faults that are seen before the header."""
    yield "empty", b"", "RddTruncatedError", "0 bytes"
    yield "only-magic", base[:8], "RddTruncatedError", "8 bytes"
    yield "half-prefix", base[:30], "RddTruncatedError", "30 bytes"
    yield "cut-in-half", base[: len(base) // 2], "RddTruncatedError", "declared"
    yield "one-byte-short", base[:-1], "RddTruncatedError", "declared"
    yield "one-byte-more", base + b"\0", CORRUPT, "more follow"
    yield "two-files", base + base, CORRUPT, "more follow"
    yield "flipped-bit", base[:-9] + bytes([base[-9] ^ 4]) + base[-8:], "RddChecksumError", "digest"
    yield "text-mode", base.replace(b"\r\n", b"\n"), CORRUPT, "text-mode"
    yield "html-page", b"<!DOCTYPE html><title>404</title>", CORRUPT, "HTML"
    yield "lfs-pointer", b"version https://git-lfs.github.com/spec/v1\n", CORRUPT, "git-LFS"
    yield "gzip", b"\x1f\x8b\x08\x00" + bytes(20), CORRUPT, "gzip"
    yield "major-1", resealed(base[:8] + b"\x01" + base[9:]), UNSUPPORTED, "format version 1"
    yield "minor-2", resealed(base[:9] + b"\x02" + base[10:]), UNSUPPORTED, "format version 0.2"
    yield "unknown-flag", resealed(base[:10] + b"\x02" + base[11:]), UNSUPPORTED, "flags"
    yield "reserved-byte", resealed(base[:11] + b"\x01" + base[12:]), UNSUPPORTED, "flags"
    yield "length-wraps", resealed(base[:16] + b"\xff" * 8 + base[24:], length=False), "RddTruncatedError", "declared"
    yield "header-4-gib", resealed(base[:12] + b"\xff" * 4 + base[16:]), CORRUPT, "header of"
    yield "header-of-0-bytes", resealed(base[:12] + bytes(4) + base[16:]), CORRUPT, "header"


def invalid_header_bytes(base: bytes, compressed: bytes) -> Iterator[Invalid]:
    """Headers that are not the canonical encoding of a map."""
    stored = stored_header(compressed)
    size, frame = stored[:4], stored[4:]
    content = rducodec.read(compressed).container.header
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    dictionary = frame[:4] + bytes([frame[4] | 1, 7]) + frame[5:]  # a Dictionary_ID of one byte
    longer = zstandard.ZstdCompressor().compress(content + b"\0")
    for name, bad, error, message in (
        ("zstd-bomb", size + bomb, CORRUPT, "declares"),
        ("zstd-bomb-declared", struct.pack("<I", 1 << 26) + bomb, TOO_LARGE, "max_header_bytes"),
        ("zstd-unsized", size + unsized, CORRUPT, "declares"),
        ("zstd-longer", size + longer, CORRUPT, "declares"),
        ("zstd-skippable", size + skippable + frame, CORRUPT, "not a Zstandard frame"),
        ("zstd-two-frames", size + frame + frame, CORRUPT, "Zstandard"),
        ("zstd-byte-more", size + frame + b"\0", CORRUPT, "Zstandard"),
        ("zstd-cut", size + frame[:-3], CORRUPT, "Zstandard"),
        ("zstd-wrong-checksum", size + checked[:-1] + bytes([checked[-1] ^ 1]), CORRUPT, "Zstandard"),
        ("zstd-dictionary", size + dictionary, CORRUPT, "dictionary"),
        ("zstd-without-size", stored[:3], CORRUPT, "too short"),
    ):
        yield name, with_stored_header(compressed, bad), error, message
    plain: list[tuple[str, Change, str]] = [
        ("header-not-a-map", lambda _: b"\x93\x01\x02\x03", "map"),
        ("header-garbage", lambda _: b"\xc1\xc1\xc1", "MessagePack"),
        ("header-nested", lambda _: b"\x91" * 5000 + b"\x00", "MessagePack"),
        ("header-empty-lists", lambda _: b"\xdc\x20\x00" + b"\x90" * 8192, "map"),
        ("header-two-maps", lambda f: msgpack.packb(f) + b"\x80", "MessagePack"),
        ("header-not-utf8", lambda f: _sorted(f | {1: "x"}).replace(b"\xa1x", b"\xa1\xff"), "MessagePack"),
        ("header-surrogate", lambda f: _sorted(f | {1: "xyz"}).replace(b"xyz", b"\xed\xa0\x80"), "MessagePack"),
        ("header-unsorted", lambda f: msgpack.packb(dict(sorted(f.items(), reverse=True))), "increasing"),
        ("header-duplicate-key", lambda f: b"\x88" + msgpack.packb(f)[1:] + b"\x0c\x91\x00", "increasing"),
        ("header-text-key", lambda f: b"\x88" + msgpack.packb(f)[1:] + b"\xa1x\x00", "keys"),
        ("header-long-integer", lambda f: msgpack.packb(f).replace(b"\x02\x02\x04", b"\x02\xcc\x02\x04", 1), "canon"),
        ("header-signed-integer", lambda f: msgpack.packb(f).replace(b"\x02\x02\x04", b"\x02\xd0\x02\x04", 1), "canon"),
        ("header-long-text", lambda f: _sorted(f | {1: "xyz"}).replace(b"\xa3xyz", b"\xd9\x03xyz"), "canonical"),
        ("header-long-array", lambda f: msgpack.packb(f).replace(b"\x04\x93", b"\x04\xdc\0\x03", 1), "canonical"),
        ("header-long-map", lambda f: b"\xde\x00\x07" + msgpack.packb(f)[1:], "canonical"),
        ("header-float32", lambda f: _sorted(f)[:-3] + b"\x0d\xca\x3f\x00\x00\x00", "canonical"),
        ("header-extension", lambda f: _sorted(f | {1: msgpack.ExtType(5, b"ab")}), "MessagePack"),
        ("header-timestamp", lambda f: _sorted(f | {13: msgpack.Timestamp(1)}), "MessagePack"),
    ]
    for name, change, message in plain:
        yield name, with_header(base, change), CORRUPT, message
    fields = msgpack.unpackb(stored_header(base), strict_map_key=False)
    for key in (0, 2, 4, 6, 8, 10):
        rest = msgpack.packb({other: fields[other] for other in fields if other != key})
        yield f"missing-key-{key}", with_stored_header(base, rest, flags=0), CORRUPT, f"key {key}"
    unknown: list[tuple[str, Any, str]] = [
        ("nested-17", nested(16), "nested"),
        ("nested-maps-17", {"a": nested(15)}, "nested"),
        ("nil", None, "type"),
        ("nil-inside", [1, {"a": None}], "type"),
        ("bool-inside", {1: [2, True]}, "type"),
        ("bytes-inside", [b"x"], "type"),
        ("infinity-inside", {"a": {"b": [1.0, float("inf")]}}, "finite"),
        ("nan-inside", [float("nan")], "finite"),
        ("mixed-keys", {1: 0, "a": 0}, "keys"),
        ("unsorted-keys", {"a": {"b": 0, "B": 0}}, "increasing"),
        ("float-key", {1.5: 0}, "keys"),
    ]
    for name, value, message in unknown:
        yield f"unknown-key-{name}", with_header(base, put(13, value)), CORRUPT, message


def _sorted(fields: dict[int, Any]) -> bytes:
    """The encoding of a map with its keys in order."""
    return msgpack.packb(dict(sorted(fields.items())))


def invalid_fields(base: bytes) -> Iterator[Invalid]:
    """Fields of the latent profile, and of both."""
    wrong: list[tuple[str, Change, str, str]] = [
        ("unknown-critical-key", put(14, 1), UNSUPPORTED, "critical key 14"),
        ("last-critical-key", put((1 << 64) - 2, 1), UNSUPPORTED, "critical key"),
        ("negative-key", put(-1, 1), CORRUPT, "negative"),
        ("negative-even-key", put(-2, 1), CORRUPT, "negative"),
        ("profile-2", put(0, 2), UNSUPPORTED, "profile 2"),
        ("profile-127", put(0, 127), UNSUPPORTED, "profile 127"),
        ("profile-128", put(0, 128), CORRUPT, "key 0"),
        ("bool-for-int", put(2, True), CORRUPT, "bool"),
        ("float-for-int", put(2, 2.0), CORRUPT, "float"),
        ("bytes-for-text", put(1, b"x"), CORRUPT, "bytes"),
        ("empty-text", put(1, ""), CORRUPT, "empty"),
        ("nul-in-text", put(1, "a\0b"), CORRUPT, "NUL"),
        ("no-classes", put(2, 0), CORRUPT, "key 2"),
        ("too-many-classes", put(2, 65536), CORRUPT, "key 2"),
        ("zero-height", put(4, [3, 0, 4]), CORRUPT, "key 4"),
        ("negative-width", put(4, [3, 4, -4]), CORRUPT, "key 4"),
        ("two-dimensions", put(4, [4, 4]), CORRUPT, "key 4"),
        ("petabyte", put(4, [65535, 2048, 2048]), TOO_LARGE, "max_output_bytes"),
        ("huge-sample", put(4, [3, 65535, 65535]), TOO_LARGE, "max_sample_pixels"),
        ("huge-slice", put(6, [2**31 - 1, 2]), TOO_LARGE, "max_output_bytes"),
        ("hours-of-work", lambda f: (put(4, [3, 64, 64])(f), parameter(3, [WIDEST] * 8)(f))[0], TOO_LARGE, "max_work"),
        ("odd-runs", put(6, [3]), CORRUPT, "pairs"),
        ("no-runs", put(6, []), CORRUPT, "pairs"),
        ("empty-slice", put(6, [0, 2]), CORRUPT, "key 6"),
        ("split-runs", put(6, [3, 1, 3, 1]), CORRUPT, "equal size"),
        ("run-of-billions", put(6, [3, 2**31 - 1]), CORRUPT, "slice sections"),
        ("one-slice-more", put(6, [3, 3]), CORRUPT, "slice sections"),
        ("section-gap", lambda f: f[8].__setitem__(1, f[8][1] - 1), CORRUPT, "declared"),
        ("section-past-end", lambda f: f[8].__setitem__(2, f[8][2] + 1), CORRUPT, "declared"),
        ("section-wraps", lambda f: f[8].__setitem__(1, 2**63 - 1), CORRUPT, "declared"),
        ("section-zero", lambda f: f[8].__setitem__(0, 0), CORRUPT, "key 8"),
        ("section-2-63", lambda f: f[8].__setitem__(1, 2**63), CORRUPT, "key 8"),
        ("sections-of-no-slice", lambda f: f[8].__delitem__(slice(1, None)), CORRUPT, "key 8"),
        ("no-scales", parameter(0, 0), CORRUPT, "key 10"),
        ("context-0", parameter(1, 0), CORRUPT, "key 10"),
        ("context-12", parameter(1, 12), UNSUPPORTED, "context"),
        ("context-255", parameter(1, 255), UNSUPPORTED, "context"),
        ("context-256", parameter(1, 256), CORRUPT, "key 10"),
        ("zero-width-layer", parameter(3, [0]), CORRUPT, "key 10"),
        ("width-65536", parameter(3, [65536]), CORRUPT, "key 10"),
        ("eight-parameters", lambda f: f[10].append(0), CORRUPT, "key 10"),
        ("space-4", put(12, [4]), UNSUPPORTED, "value space 4"),
        ("space-127", put(12, [127, "x", {}]), UNSUPPORTED, "value space 127"),
        ("space-128", put(12, [128]), CORRUPT, "key 12"),
        ("space-empty", put(12, []), CORRUPT, "key 12"),
        ("space-pixels-more", put(12, [0, 1]), CORRUPT, "key 12"),
        ("space-zca-short", put(12, [2]), CORRUPT, "key 12"),
        ("space-zca-not-text", put(12, [2, 5]), CORRUPT, "key 12"),
        ("space-other-empty-text", put(12, [3, ""]), CORRUPT, "key 12"),
        ("space-no-std", put(12, [1, [0.5] * 3]), CORRUPT, "key 12"),
        ("space-nan", put(12, [1, [0.5, 0.5, float("nan")], [1.0, 1.0, 1.0]]), CORRUPT, "finite"),
        ("space-zero-std", put(12, [1, [0.5] * 3, [1.0, 0.0, 1.0]]), CORRUPT, "deviation"),
        ("space-integer-mean", put(12, [1, [0.5, 0, 0.5], [1.0] * 3]), CORRUPT, "floats"),
        ("space-two-channels", put(12, [1, [0.5] * 2, [1.0] * 2]), CORRUPT, "floats"),
        ("class-ids-short", put(5, [1]), CORRUPT, "class ids"),
        ("class-ids-none", put(5, []), CORRUPT, "class ids"),
        ("class-ids-negative", put(5, [1, -1]), CORRUPT, "key 5"),
        ("class-ids-2-32", put(5, [1, 1 << 32]), CORRUPT, "key 5"),
        ("class-names-short", put(3, ["a"]), CORRUPT, "class names"),
        ("class-names-none", put(3, []), CORRUPT, "class names"),
        ("class-names-fold", put(3, ["Tabby cat", "tabby Cat"]), CORRUPT, "repeats"),
        ("class-name-256-bytes", put(3, ["\u00e9" * 128, "ok"]), CORRUPT, "class name 0"),
        ("recipe-nan", put(7, {"lr": float("nan")}), CORRUPT, "finite"),
        ("recipe-list", put(7, {"lr": [1]}), CORRUPT, "recipe"),
        ("recipe-not-a-map", put(7, "lr 0.1"), CORRUPT, "key 7"),
        ("recipe-unsorted", put(7, {"lr": 1, "epochs": 2}), CORRUPT, "increasing"),
        ("recipe-empty-key", put(7, {"": 1}), CORRUPT, "recipe key"),
        ("recipe-integer-key", put(7, {1: 1}), CORRUPT, "recipe key"),
        ("recipe-empty-text", put(7, {"lr": ""}), CORRUPT, "recipe"),
        ("recipe-nul", put(7, {"lr": "a\0"}), CORRUPT, "recipe"),
        ("recipe-bool", put(7, {"lr": False}), CORRUPT, "bool"),
    ]
    names = ["../x", "/etc/x", "C:\\x", "a\0b", "a\nb", "a\x7fb", "a\x85b", "-x", ".", ".x", " a", "a ", "a.", ""]
    names += [f"a{character}b" for character in headers.NOT_IN_NAMES]
    for index, name in enumerate(names):
        wrong.append((f"class-name-{index}", put(3, [name, "ok"]), CORRUPT, "class name 0"))
    for name, change, error, message in wrong:
        yield name, with_header(base, change), error, message


def invalid_raw_fields(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Parameters of the raw profile."""
    eight, half = good["raw-8-bits"], good["raw-float16"]
    wide = np.random.default_rng(92).integers(0, 1 << 17, (2, 1, 3, 3)).astype("<u4").view("<f4")
    seventeen = raw_file(wide, counts(2), rducodec.RawConfig(True, 32), [0], slice_size=2)  # tiny numbers, all finite
    cases: list[tuple[str, bytes, list[Any]]] = [
        ("raw-divisor-0", eight, [0, 8, 0]),
        ("raw-divisor-above-2-24", eight, [0, 8, (1 << 24) + 1]),
        ("raw-is-float-2", half, [2, 16, 1]),
        ("raw-float-divisor-2", half, [1, 16, 2]),
        ("raw-float-8", eight, [1, 8, 1]),
        ("raw-float-24", half, [1, 24, 1]),
        ("raw-bits-0", eight, [0, 0, 255]),
        ("raw-bits-17", seventeen, [0, 17, 1]),
        ("raw-two-parameters", eight, [0, 8]),
        ("raw-four-parameters", eight, [0, 8, 255, 0]),
    ]
    for name, data, parameters in cases:
        yield name, with_header(data, put(10, parameters)), CORRUPT, "key 10"


def wrong_order_of_checks(base: bytes) -> Iterator[Invalid]:
    """Two faults each, of which section 2 says which is found first."""
    version = base[:9] + b"\x07" + base[10:]
    yield "first-version-then-length", version[:-1], UNSUPPORTED, "format version 0.7"
    yield "first-version-then-file-check", version, UNSUPPORTED, "format version 0.7"
    yield "first-length-then-file-check", base[:-1] + b"xy", CORRUPT, "more follow"
    yield "first-file-check-then-flags", base[:10] + b"\x02" + base[11:], "RddChecksumError", "digest"
    reserved = resealed(base[:10] + b"\x80" + base[11:12] + struct.pack("<I", 1) + base[16:])
    yield "first-flags-then-header", reserved, UNSUPPORTED, "flags"
    both = with_header(base, lambda f: msgpack.packb(dict(sorted((f | {14: 0}).items(), reverse=True))))
    yield "first-canonical-then-critical-key", both, CORRUPT, "increasing"
    not_finite = with_header(base, lambda f: (put(14, 0)(f), put(13, float("nan"))(f))[0])
    yield "first-finite-then-critical-key", not_finite, CORRUPT, "finite"
    yield (
        "first-critical-key-then-fields",
        with_header(base, lambda f: (put(14, 0)(f), put(2, 0)(f))[0]),
        UNSUPPORTED,
        "14",
    )
    fields_and_limits = with_header(base, lambda f: (put(4, [3, 65535, 65535])(f), put(2, 0)(f))[0])
    yield "first-fields-then-limits", fields_and_limits, CORRUPT, "key 2"
    limits_and_sections = with_header(base, lambda f: (put(4, [3, 65535, 65535])(f), put(8, [1, 1, 1])(f))[0])
    yield "first-limits-then-sections", limits_and_sections, TOO_LARGE, "max_sample_pixels"


def invalid_labels(base: bytes, ordered: bytes) -> Iterator[Invalid]:
    """Faults in the labels section."""
    labels, slices = sections_of(base)
    for name, bad, message in (
        ("labels-kind-2", b"\x02" + labels[1:], "kind 2"),  # without soft labels
        ("labels-cut", labels[:-1], "cut off"),
        ("labels-trailing", labels + b"\0", "too many"),
        ("labels-too-many", b"\0\x03\x01\x04\x01", "samples"),
        ("labels-wrap", b"\0\x03\x01" + b"\x83" + b"\x80" * 7 + b"\x40\x01", "samples"),
        ("labels-run-of-0", b"\0\x03\x00", "run of 0"),
        ("labels-run-too-long", b"\0\x03\x03", "run of 3"),
        ("labels-split-run", b"\0\x03\x01\x03\x01", "run of 1"),
        ("labels-long-varint", b"\0\x83\x00\x02", "longer than needed"),
        ("labels-endless-varint", b"\0" + b"\xff" * 10, "longer than 9"),
        # 2^64 + 3, which 64 bits take for 3
        ("labels-10-byte-varint", b"\0\x83" + b"\x80" * 8 + b"\x02\x02", "longer than 9"),
        ("slice-crosses-class", b"\0\x02\x01\x04\x01", "cross"),
    ):
        yield name, with_sections(base, bad, slices), CORRUPT, message
    three = latent_file(tiny_config(), [3, 3, 1], counts(3, 4), 93)
    yield "labels-too-few", with_sections(three, b"\0\x03\x02", sections_of(three)[1]), CORRUPT, "samples"
    labels, slices = sections_of(ordered)
    for name, order, message in (
        ("order-wrong-counts", [0, 0, 0, 1, 1, 2], "counts"),
        ("order-unknown-class", [1, 0, 9, 1, 1, 0], "counts"),
        ("order-too-short", [1, 0, 2, 1, 1], "declares"),
        ("order-too-long", [1, 0, 2, 1, 1, 0, 0], "declares"),
    ):
        frame = zstandard.ZstdCompressor(level=19).compress(bytes(order))
        yield name, with_sections(ordered, labels[:7] + frame, slices), CORRUPT, message
    yield "order-missing", with_sections(ordered, labels[:7], slices), CORRUPT, "Zstandard"
    yield "order-trailing", with_sections(ordered, labels + b"\0", slices), CORRUPT, "Zstandard"


def invalid_payloads(base: bytes) -> Iterator[Invalid]:
    """Payloads that are not what an encoder wrote, and digests of something else."""
    labels, (first, second) = sections_of(base)
    check, payload = first[:SLICE_CHECK_BYTES], first[SLICE_CHECK_BYTES:]
    noise = np.random.default_rng(90).bytes(len(payload))
    for name, bad, error, message in (
        ("payload-part-of-word", first + b"\0", CORRUPT, "multiple of 4"),
        ("payload-words-left", first + b"\x01\0\0\0" * 4, CORRUPT, "does not end"),
        ("payload-zero-words-left", first + bytes(8), CORRUPT, "does not end"),
        ("payload-empty", check, CORRUPT, "only 4 bytes"),
        ("payload-part-of-check", check[:3], CORRUPT, "bytes"),
        ("payload-cut", first[: len(first) // 8 * 4], CORRUPT, ""),
        ("payload-zeros", check + bytes(len(payload)), CORRUPT, ""),
        ("payload-ones", check + b"\xff" * len(payload), CORRUPT, ""),
        ("payload-noise", check + noise, CORRUPT, ""),
        ("slice-check", b"\0\0\0\0" + payload, WRONG_SAMPLES, "slice 0"),
    ):
        yield name, with_sections(base, labels, [bad, second]), error, message
    yield "sample-digest", resealed(base[:24] + bytes(16) + base[40:]), WRONG_SAMPLES, "samples and labels"
    yield "slices-swapped", with_sections(base, labels, [second, first]), WRONG_SAMPLES, "samples and labels"
    yield "payload-end-too-late", file_with_end((1 << 33) - 1), CORRUPT, "does not end"
    yield "payload-quantile", file_with_end(None), CORRUPT, "not a sequence of symbols"
    yield "payload-too-small", zeros_file(FULLEST, FULLEST_SAMPLES + 1), CORRUPT, "cannot hold"
    tiny = zeros_file(dataclasses.replace(FULLEST, synthesis_widths=()), 1)
    yield "payload-of-huge-networks", with_header(tiny, parameter(3, [WIDEST] * 8)), CORRUPT, "cannot hold"
    tiny = zeros_file(tiny_config(), 1)
    yield "payload-of-many-samples", with_sections_of_many(tiny), CORRUPT, "cannot hold"


def with_sections_of_many(tiny: bytes) -> bytes:
    """The file of one sample, with a hundred thousand in its header and labels."""
    _, slices = sections_of(tiny)
    labels = b"\0\xa0\x8d\x06\x01"  # 100,000 samples of one class

    def change(fields: dict[int, Any]) -> None:
        fields[6] = [100_000, 1]
        fields[8][0] = len(labels)

    end = 48 + struct.unpack_from("<I", tiny, 12)[0]
    return with_header(tiny[:end] + labels + slices[0], change)


def with_code(batch: int, number: int) -> tuple[Any, str, Any]:
    """A change of the encoder: the last tensor gets this `frac_bits` (0), `scale_index` (1) or `raw_bits` (2)."""
    calls = count()
    first = (weights.FIRST_FRAC_BITS, weights.FIRST_SCALE_INDEX, 0)[batch]
    biases = [index for index, shape in enumerate(tiny_config().tensor_shapes()) if len(shape) == 1]

    def encode_offsets(encoder: Any, offsets: np.ndarray, rows: np.ndarray) -> None:
        if next(calls) == batch:
            before = 0 if batch == 2 else first + int(offsets[biases[:-1]].sum())
            offsets = offsets.copy()
            offsets[-1] = number - before
        symbols.encode_offsets(encoder, offsets, rows)

    return weights, "encode_offsets", encode_offsets


def broken_by_one_rule() -> Iterator[Invalid]:
    """Files of an encoder with one check switched off, of which everything else is right."""
    no_bound = [(entropy_network, "INT32_BITS", 62), (synthesis_network, "FLOAT64_BITS", 62)]
    kernel = np.random.default_rng(94).integers(-200, 200, (8, 8))
    large, small = kernel.copy(), kernel.copy()
    large[3, 4], small[3, 4] = 1 << 24, -(1 << 24)
    even = np.array([[1, -1] * 4] * 8) << 22
    no_range = [(weights, "MAX_VALUE", 1 << 25)]

    def extreme(value: int) -> Edit:
        def edit(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
            grid = part.latents[0].astype(np.int32)
            grid[0, 1, 2] = value
            return dataclasses.replace(part, latents=(grid, *part.latents[1:]))

        return edit

    def large_bias(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        weight = with_synthesis(-2, tensor_of(part.synthesis[-2].values, 16))
        return with_synthesis(-1, tensor_of([1 << 23], 0))(weight(part))

    def limit(name: str, value: Any) -> list[tuple[Any, str, Any]]:
        return [(headers, name, value)]

    cases: list[tuple[str, list[tuple[Any, str, Any]], dict[str, Any], Edit | None, str]] = [
        ("nine-scales", limit("MAX_SCALES", 9), {"num_scales": 9}, None, "key 10"),
        ("nine-widths", limit("MAX_WIDTHS", 9), {"synthesis_widths": (2,) * 9}, None, "key 10"),
        ("depth-5", limit("MAX_DEPTH", 5), {"entropy_depth": 5}, None, "key 10"),
        ("act-frac-bits-5", limit("ACT_FRAC_BITS", (5, 12)), {"act_frac_bits": 5}, None, "key 10"),
        ("act-frac-bits-13", limit("ACT_FRAC_BITS", (6, 13)), {"act_frac_bits": 13, "act_bits": 16}, None, "key 10"),
        ("act-bits-5", limit("ACT_BITS", (5, 20)), {"act_bits": 5}, None, "key 10"),
        ("act-bits-21", limit("ACT_BITS", (6, 21)), {"act_bits": 21}, None, "key 10"),
        ("sample-frac-bits-17", limit("SAMPLE_FRAC_BITS", (0, 17)), {"sample_frac_bits": 17}, None, "key 10"),
        ("frac-bits-17", [(weights, "MAX_FRAC_BITS", 17)], {}, with_upsampling(tensor_of(kernel, 17)), "fractional"),
        (
            "raw-bits-16",
            [(weights, "MAX_RAW_BITS", 16), (weights, "best_code", lambda _: (weights.FIRST_SCALE_INDEX, 16, 0.0))],
            {},
            None,
            "raw bits 16",
        ),
        ("parameter-2-24", no_range, {}, with_upsampling(tensor_of(large, 16)), "magnitude"),
        ("parameter-minus-2-24", no_range, {}, with_upsampling(tensor_of(small, 16)), "magnitude"),
        ("entropy-accumulator", no_bound, {}, with_entropy(0, tensor_of(np.full((8, 8), 1 << 22), 1)), "accumulator"),
        ("entropy-bias-accumulator", no_bound, {}, with_entropy(1, tensor_of([1 << 20] * 8, 0)), "accumulator"),
        ("entropy-accumulator-2-31", no_bound, {"entropy_depth": 0}, entropy_bound_edit(126), "accumulator"),
        ("upsampling-accumulator", no_bound, {}, with_upsampling(tensor_of(2 * even, 16)), "upsampling"),
        ("upsampling-accumulator-one-more", no_bound, {}, upsampling_bound_edit(1), "upsampling"),
        (
            "upsampling-accumulator-unused",  # with one grid nothing is upsampled
            no_bound,
            {"num_scales": 1},
            with_upsampling(tensor_of(2 * even, 16)),
            "upsampling",
        ),
        (
            "synthesis-accumulator",
            no_bound,
            {},
            with_synthesis(-4, tensor_of((even.reshape(-1)[:9] * 3).reshape(1, 1, 3, 3), 16)),
            "synthesis",
        ),
        ("synthesis-accumulator-one-more", no_bound, {}, synthesis_bound_edit(1), "synthesis"),
        ("synthesis-bias-accumulator", no_bound, {}, large_bias, "synthesis"),
    ]
    for name, changes, fields, edit, message in cases:
        config = tiny_config(**fields)
        part = random_slice(config, 1, np.random.default_rng(91), spread=0.7)
        with changed(*changes):
            data = unread_file(config, [edit(part) if edit else part], counts(1))
            rducodec.read(data).samples()  # without the check, all is well
        yield name, data, CORRUPT, message

    part = random_slice(tiny_config(), 1, np.random.default_rng(91))
    for name, batch, number, message in (
        ("frac-bits-minus-1", 0, -1, "fractional bits -1"),
        ("scale-index-155", 1, 155, "scale index 155"),
        ("scale-index-minus-1", 1, -1, "scale index -1"),
        ("raw-bits-minus-1", 2, -1, "raw bits -1"),
    ):
        with changed(with_code(batch, number)):
            data = unread_file(tiny_config(), [part], counts(1))
        yield name, data, CORRUPT, message
    for name, value in (("latent-32768", 32768), ("latent-minus-32769", -32769)):
        yield name, unread_file(tiny_config(), [extreme(value)(part)], counts(1)), CORRUPT, "latents: values"
    zero_bias = with_entropy(1, tensor_of(np.zeros(8), 0))(part)

    def finer(tensors: Tensors) -> Tensors:
        return (tensors[0], dataclasses.replace(tensors[1], frac_bits=16), *tensors[2:])

    data = unread_file(tiny_config(), [zero_bias], counts(1), written=finer)
    yield "entropy-bias-too-fine", data, CORRUPT, "fractional bits"


def invalid_raw(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Faults in slices of the raw profile, all of which leave the right samples to a decoder that is not strict."""
    numbers = np.random.default_rng(93).integers(0, 8, (1, 1, 3, 3)).astype(np.uint8)
    three_bits = rducodec.RawConfig(False, 3, 7)

    def change_section(method: int, change: Callable[[bytearray], Any]) -> bytes:
        data = raw_file(numbers, counts(1), three_bits, [method])
        labels, (section,) = sections_of(data)
        changed_section = bytearray(section)
        change(changed_section)
        return with_sections(data, labels, [bytes(changed_section)])

    def method_byte(value: int) -> Callable[[bytearray], Any]:
        return lambda section: section.__setitem__(SLICE_CHECK_BYTES, value)

    def set_bits(place: int, bits: int) -> Callable[[bytearray], Any]:
        return lambda section: section.__setitem__(place, section[place] | bits)

    frame_more = zstandard.ZstdCompressor().compress(numbers.tobytes() + b"\0")
    for name, method, change, message in (
        ("raw-predictor-3", 0, method_byte(3), "method"),
        ("raw-coding-2", 0, method_byte(16), "method"),
        ("raw-method-255", 0, method_byte(255), "method"),
        ("raw-without-method", 0, lambda section: section.__delitem__(slice(4, None)), "only 4 bytes"),
        ("raw-stored-short", 0, lambda section: section.pop(), "stored"),
        ("raw-stored-long", 0, lambda section: section.append(0), "stored"),
        ("raw-frame-long", 8, lambda section: section.__setitem__(slice(5, None), frame_more), "declares"),
        ("raw-frame-trailing", 8, lambda section: section.append(0), "Zstandard"),
        ("raw-value-too-large", 0, set_bits(6, 8), "allowed"),
        ("raw-value-too-large-predicted", 2, set_bits(6, 128), "allowed"),
        ("raw-spare-bit", 4, set_bits(-1, 1), "padding"),
        ("raw-spare-bit-predicted", 5, set_bits(-1, 16), "padding"),
    ):
        yield name, change_section(method, change), CORRUPT, message
    for name, bits, value in (("nan", 16, np.nan), ("infinity", 32, -np.inf)):
        floats = np.random.default_rng(94).normal(size=(1, 1, 3, 3)).astype(f"<f{bits // 8}")
        floats[0, 0, 1, 1] = value
        data = raw_file(floats, counts(1), rducodec.RawConfig(True, bits), [0])
        yield f"raw-{name}", data, CORRUPT, "finite"
    yield "raw-digest", resealed(good["raw-noise"][:-1] + b"\x01"), WRONG_SAMPLES, "slice"
