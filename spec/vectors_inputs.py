"""The test vectors of more inputs of the entropy network, and those that state them in a wrong way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

import rducodec
from rducodec.bitstream.header import ENTROPY_INPUTS
from rducodec.entropy import network as entropy_network
from spec.vector_tools import (
    CORRUPT,
    UNSUPPORTED,
    Edit,
    Invalid,
    Vector,
    changed,
    counts,
    entropy_bound_edit,
    latent_file,
    put,
    random_slice,
    residual_bound_edit,
    tensor_of,
    tiny_config,
    unread_file,
    with_entropy,
    with_header,
)
from spec.vectors_sharing import shared_slices
from spec.vectors_units import coarse, sorted_file

KINDS: dict[str, dict[str, Any]] = {
    "coarser": {"coarser_size": 5},
    "biases": {"grid_biases": True},
    "both": {"coarser_size": 5, "grid_biases": True},
}
BOUND = {"entropy_depth": 0, "num_scales": 3, "grid_biases": True}  # the bias of one grid alone reaches the bound
OWN_BIASES = [-154, 410, 51, 576, 294, 691]  # with 7 fractional bits: another mean and scale for each of three grids
UNCLAMPED = 64  # with 6 fractional bits and 12 in all, latents of smaller magnitude enter as they are
RESIDUAL = 16  # in units of the weight of `residual_bound_edit`
LARGEST = 524416  # that weight and the residual, where the bound is reached


def valid_inputs() -> Iterator[Vector]:
    """Latents of the coarser grid and biases of grids, with every size of network and grids of many shapes."""
    for number, (kind, fields) in enumerate(KINDS.items()):
        for depth in (0, 1, 2):
            config = tiny_config(height=9, width=11, num_scales=3, entropy_depth=depth, **fields)
            yield f"inputs-{kind}-depth-{depth}", latent_file(config, [2], counts(2), 130 + 3 * number + depth)
    for context_size in (16, 24, 32):
        config = tiny_config(height=12, width=7, num_scales=4, context_size=context_size, **KINDS["both"])
        yield f"inputs-context-{context_size}", latent_file(config, [2], counts(2), 140 + context_size, spread=2.0)
    for height, width, scales in ((1, 1, 1), (1, 1, 7), (7, 1, 8), (1, 9, 4), (13, 5, 3), (2, 2, 2), (16, 16, 5)):
        config = tiny_config(height=height, width=width, num_scales=scales, **KINDS["both"])
        name = f"inputs-shape-{height}x{width}-scales-{scales}"
        yield name, latent_file(config, [2], counts(2), 201 + 16 * height + width)
    config = tiny_config(height=8, width=8, act_bits=20, entropy_depth=4, **KINDS["both"])
    yield "inputs-far-latents", latent_file(config, [2], counts(2), 181, spread=3000.0)
    config = tiny_config(num_scales=3, **KINDS["both"])
    parts = shared_slices(config, (1, 2, 2), (0, 0, 2), (0, 1, 0), 182)
    yield "inputs-shared", rducodec.pack_latent(parts, counts(3, 2), config)
    config = tiny_config(**BOUND)
    yield "inputs-largest-accumulator", latent_file(config, [1], counts(1), 185, edit=entropy_bound_edit(125, 3))
    edit = entropy_bound_edit(125, 3, grid=0)
    yield "inputs-largest-accumulator-grid-0", latent_file(config, [1], counts(1), 186, edit=edit)
    for kind in ("biases", "both"):
        config = tiny_config(height=9, width=11, num_scales=3, **KINDS[kind])
        edit = with_entropy(-1, tensor_of(OWN_BIASES, 7))
        yield f"inputs-{kind}-differ-on-all-grids", latent_file(config, [2], counts(2), 187, edit=edit)
    yield from valid_clamped()
    config = tiny_config(synthesis_widths=(12, 5), num_scales=3, **KINDS["both"])
    parts = shared_slices(config, (2, 1, 1), (0, 0, 2), (0, 1, 0), 190)
    hidden = [coarse(part, 1) for part in parts]
    yield "inputs-and-units", sorted_file(hidden[:1], config, 3)
    yield "inputs-and-units-shared", sorted_file(hidden, config, 2)
    config = tiny_config(**KINDS["coarser"])
    for name, weight in (("added-to", LARGEST - RESIDUAL), ("taken-from", -LARGEST - RESIDUAL)):
        data = latent_file(config, [1], counts(1), 191, edit=residual_bound_edit(weight))
        yield f"inputs-residual-{name}-largest-weight", data


def valid_clamped() -> Iterator[Vector]:
    """Latents of the coarser grid that the network sees clamped: alone, without neighbours, and among many."""

    def far(grid: int, values: list[int]) -> Edit:
        def edit(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
            latents = list(part.latents)
            latents[grid] = np.resize(np.array(values, np.int16), latents[grid].shape)
            return dataclasses.replace(part, latents=tuple(latents))

        return edit

    ends = [UNCLAMPED - 1, UNCLAMPED, -UNCLAMPED + 1, -UNCLAMPED, 1000, -32768, 32767]
    config = tiny_config(height=2, width=2, **KINDS["coarser"])  # the coarser grid has one latent
    yield "inputs-clamp-one-coarser", latent_file(config, [7], counts(7), 188, edit=far(1, ends))
    config = tiny_config(height=9, width=11, num_scales=3, **KINDS["both"])
    for grid in (1, 2):
        data = latent_file(config, [2], counts(2), 189, edit=far(grid, [0, *ends, -2, 5, -90]))
        yield f"inputs-clamp-coarser-grid-{grid}", data


def invalid_inputs(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Fields that break a rule, fields of later versions, fields of other networks than those of the file."""
    base = good["inputs-both-depth-1"]
    wrong: list[tuple[str, Any, str]] = [
        ("not-an-array", 5, f"key {ENTROPY_INPUTS}"),
        ("empty", [], "0 elements"),
        ("one-element", [5], "1 elements"),
        ("three-elements", [5, 1, 0], "3 elements"),
        ("nothing", [0, 0], "absent"),
        ("negative", [-1, 1], f"key {ENTROPY_INPUTS}[0]"),
        ("coarser-256", [256, 1], f"key {ENTROPY_INPUTS}[0]"),
        ("float", [5.0, 1], f"key {ENTROPY_INPUTS}[0]"),
        ("biases-2", [5, 2], f"key {ENTROPY_INPUTS}[1]"),
        ("biases-minus-1", [5, -1], f"key {ENTROPY_INPUTS}[1]"),
        ("biases-float", [5, 1.0], f"key {ENTROPY_INPUTS}[1]"),
    ]
    for name, value, message in wrong:
        yield f"inputs-{name}", with_header(base, put(ENTROPY_INPUTS, value)), CORRUPT, message
    for size in (1, 4, 6, 255):
        later = with_header(base, put(ENTROPY_INPUTS, [size, 1]))
        yield f"inputs-coarser-{size}", later, UNSUPPORTED, f"context of {size} coarser latents"
    # Right but for the key: for a decoder that takes it, this is the file without it.
    yield "inputs-nothing-payload-fits", with_header(good["depth-1"], put(ENTROPY_INPUTS, [0, 0])), CORRUPT, "absent"
    raw = with_header(good["raw-8-bits"], put(ENTROPY_INPUTS, [5, 1]))
    yield "inputs-raw", raw, CORRUPT, "raw profile"
    broken: list[tuple[str, dict[str, Any], Edit]] = [
        ("accumulator-2-31", BOUND, entropy_bound_edit(126, 3)),
        ("accumulator-2-31-grid-0", BOUND, entropy_bound_edit(126, 3, grid=0)),
        ("accumulator-2-31-grid-1", BOUND, entropy_bound_edit(126, 3, grid=1)),
        ("accumulator-with-residual", KINDS["coarser"], residual_bound_edit(LARGEST - RESIDUAL + 1)),
    ]
    for name, fields, edit in broken:
        config = tiny_config(**fields)
        part = edit(random_slice(config, 1, np.random.default_rng(185)))
        with changed((entropy_network, "INT32_BITS", 62)):
            data = unread_file(config, [part], counts(1))
            rducodec.read(data).samples()  # without the check, all is well
        yield f"inputs-{name}", data, CORRUPT, "accumulator"
