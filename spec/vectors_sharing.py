"""The test vectors in which slices use networks of earlier slices, and those that say so in a wrong way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import rducodec
from rducodec import writer
from rducodec.bitstream import header as headers
from rducodec.entropy import network as entropy_network
from rducodec.synthesis import network as synthesis_network
from spec.vector_tools import (
    CORRUPT,
    UNSUPPORTED,
    WRONG_SAMPLES,
    Invalid,
    Vector,
    changed,
    counts,
    entropy_bound_edit,
    put,
    random_slice,
    sections_of,
    synthesis_bound_edit,
    tiny_config,
    with_header,
    with_sections,
)
from spec.vectors_valid import FULLEST, FULLEST_SAMPLES

CLASSES = counts(3, 3, 2)
SIZES = (2, 1, 3, 1, 1)  # samples of each slice
ENTROPY_OWNERS, DECODER_OWNERS = (0, 0, 2, 0, 2), (0, 1, 1, 3, 1)
ENTROPY, DECODER = headers.ENTROPY_SHARING, headers.DECODER_SHARING


def shared_slices(
    config: rducodec.LatentConfig, sizes: Sequence[int], entropy: Sequence[int], decoder: Sequence[int], seed: int
) -> list[rducodec.LatentSlice]:
    """Random slices of these sizes with the networks of the slices that `entropy` and `decoder` name."""
    rng = np.random.default_rng(seed)
    parts = [random_slice(config, size, rng) for size in sizes]
    return [
        dataclasses.replace(
            part, entropy=parts[e].entropy, upsampling=parts[d].upsampling, synthesis=parts[d].synthesis
        )
        for part, e, d in zip(parts, entropy, decoder, strict=True)
    ]


def shared_file(entropy: Sequence[int], decoder: Sequence[int], *, seed: int = 110, **changes: Any) -> bytes:
    """Five slices of three classes with these owners of networks."""
    config = tiny_config(**changes)
    return rducodec.pack_latent(shared_slices(config, SIZES, entropy, decoder, seed), CLASSES, config)


def valid_sharing() -> Iterator[Vector]:
    """Sharing of each kind of networks, within and across classes."""
    own = range(len(SIZES))
    yield "sharing-entropy", shared_file(ENTROPY_OWNERS, own)
    yield "sharing-decoder", shared_file(own, DECODER_OWNERS, seed=111)
    yield "sharing-both", shared_file(ENTROPY_OWNERS, DECODER_OWNERS, seed=112, channels=3, entropy_depth=2)
    yield "sharing-all", shared_file((0,) * 5, (0,) * 5, seed=113)
    yield "sharing-some-store-nothing", shared_file((0, 1, 1, 1, 0), (0, 1, 0, 0, 1), seed=114, entropy_depth=0)
    config = tiny_config()
    parts = shared_slices(config, [1] * 40, [i // 4 * 4 for i in range(40)], [0] * 40, 115)
    yield "sharing-by-class", rducodec.pack_latent(parts, counts(*[4] * 10), config)
    yield "sharing-fullest-payload", zeros_shared(FULLEST_SAMPLES, FULLEST_SAMPLES + 1)


def zeros_shared(*sizes: int) -> bytes:
    """Slices of one word of 0 each, the first with as many parameters and samples as it may hold; the others share."""
    shape = (FULLEST.channels, FULLEST.height, FULLEST.width)
    samples = [np.zeros((size, *shape), np.int32) for size in sizes]
    owners = (0,) * len(sizes)
    payloads = [bytes(4)] * len(sizes)
    return writer._assemble(FULLEST, shape, counts(*sizes), samples, payloads, None, rducodec.Texts(), (owners, owners))


def invalid_sharing(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Arrays that no encoder writes, and slices that do not hold what they say."""
    base = good["sharing-both"]  # five slices
    wrong: list[tuple[str, Any, str]] = [
        ("first-looks-back", [1, 5], "slice 0 looks 1 networks back"),
        ("too-far-back", [0, 1, 1, 1, 2, 1, 1, 2], "slice 2 looks 2 networks back"),
        ("one-too-far-at-the-end", [0, 2, 2, 2, 3, 1], "slice 4 looks 3 networks back"),
        ("later-slice", [0, 1, 2, 1, 0, 3], "slice 1 looks 2 networks back"),
        ("negative", [0, 1, -1, 4], "key 16"),
        ("2-24", [0, 1, 1 << 24, 4], "key 16"),
        ("run-2-24", [0, 1, 1, 1 << 24], "key 16"),
        ("float", [0, 1, 1.0, 4], "key 16"),
        ("not-an-array", 1, "key 16"),
        ("empty", [], "0 slices"),
        ("odd-length", [0, 1, 1], "pairs"),
        ("empty-run", [0, 1, 1, 4, 0, 0], "empty runs"),
        ("split-run", [0, 1, 1, 2, 1, 2], "neighbouring"),
        ("one-slice-less", [0, 1, 1, 3], "4 slices"),
        ("one-slice-more", [0, 1, 1, 5], "6 slices"),
        ("all-own", [0, 5], "absent"),
    ]
    for name, value, message in wrong:
        yield f"sharing-{name}", with_header(base, put(ENTROPY, value)), CORRUPT, message
    decoder: list[tuple[str, Any, str]] = [
        ("looks-back", [1, 5], "slice 0 looks 1 networks back"),
        ("all-own", [0, 5], "absent"),
        ("odd-length", [0], "pairs"),
        ("split-run", [0, 1, 1, 2, 1, 2], "neighbouring"),
    ]
    for name, value, message in decoder:
        yield f"sharing-decoder-{name}", with_header(base, put(DECODER, value)), CORRUPT, message
    for name, key in (("", ENTROPY), ("decoder-", DECODER)):
        # Right but for the key: for a decoder that takes it, this is the file without it.
        own = with_header(good["slices-and-empty-class"], put(key, [0, 4]))
        yield f"sharing-{name}all-own-payload-fits", own, CORRUPT, "absent"
    for key in (ENTROPY, DECODER):
        raw = with_header(good["raw-8-bits"], put(key, [0, 1, 1, 2]))
        yield f"sharing-raw-{key}", raw, CORRUPT, "raw profile"
    yield "sharing-unknown-critical-key", with_header(base, put(20, [0, 1, 1, 4])), UNSUPPORTED, "critical key 20"
    data = shared_file((0,) * 5, (0, 1, 2, 0, 2), seed=117)
    yield "sharing-other-network", with_header(data, put(DECODER, [0, 3, 2, 2])), WRONG_SAMPLES, "slice 3"
    data = good["sharing-some-store-nothing"]
    labels, slices = sections_of(data)
    yield (
        "sharing-without-payload",
        with_sections(data, labels, [*slices[:-1], slices[-1][:4]]),
        CORRUPT,
        "only 4 bytes",
    )
    longer = with_sections(data, labels, [*slices[:-1], slices[-1] + b"\1\0\0\0" * 3])
    yield "sharing-word-left", longer, CORRUPT, "payload"
    full = (8 * 4 + 64 << 15) // 15
    yield "sharing-payload-too-full", zeros_shared(FULLEST_SAMPLES, full + 1), CORRUPT, "cannot hold"
    yield from broken_networks()


def broken_networks() -> Iterator[Invalid]:
    """A network that no decoder may compute: the slice that stores it is wrong, and so are those that share it."""
    config = tiny_config(entropy_depth=0)
    parts = shared_slices(config, SIZES, (0,) * 5, (0,) * 5, 118)
    for name, checks, edit in (
        ("entropy", [(entropy_network, "INT32_BITS", 62)], entropy_bound_edit(126)),
        ("synthesis", [(synthesis_network, "FLOAT64_BITS", 62)], synthesis_bound_edit(1)),
    ):
        with changed(*checks):
            data = rducodec.pack_latent([edit(part) for part in parts], CLASSES, config)
        yield f"sharing-{name}-accumulator", data, CORRUPT, "accumulator" if name == "entropy" else "synthesis"
