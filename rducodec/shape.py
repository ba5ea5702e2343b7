"""Shapes of the networks of a file to be made: by the paper's names, or by widths, contexts and depths."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rducodec.bitstream.header import CONTEXT_SIZES, MAX_DEPTH, MAX_WIDTH, MAX_WIDTHS
from rducodec.errors import RddInputError

# Widths of the hidden 1x1 layers of the synthesis by the paper's names.
DECODERS = {
    **{f"v4-{width}": (width,) for width in (40, 160, 240, 480, 960, 1200)},
    **{f"v5-{width}": (width, 40) for width in (240, 320)},
}
DEFAULT_DECODER = "v4-160"
DEFAULT_SLICE_SIZE = 64
NETWORKS = ("slice", "file")
MAX_SCALES = 6
LARGE_SIDE = 64  # from here on, the number of scales does not grow


def num_scales_for(height: int, width: int) -> int:
    """Latent grids of a sample, as in the paper: down to one latent, at most 6.

    >>> num_scales_for(8, 8), num_scales_for(32, 32), num_scales_for(128, 128)
    (4, 6, 6)
    """
    side = min(height, width)
    return MAX_SCALES if side >= LARGE_SIDE else side.bit_length()


@dataclass(frozen=True)
class LatentShape:
    """The networks of a file to be made, independent of the geometry of its samples."""

    synthesis_widths: tuple[int, ...] = DECODERS[DEFAULT_DECODER]
    context_size: int = 16
    entropy_depth: int = 2
    slice_size: int = DEFAULT_SLICE_SIZE  # samples of a slice, at most
    num_scales: int | None = None  # None: as `num_scales_for` says
    networks: str = NETWORKS[0]  # whether each slice has networks of its own, or all of the file share theirs


def parse_decoder(text: str) -> tuple[int, ...]:
    """Widths of the hidden 1x1 layers of `v4-480`, `480` or `240,40`. Raises RddInputError."""
    if text in DECODERS:
        return DECODERS[text]
    if re.fullmatch(r"[0-9]+(,[0-9]+)*", text):
        widths = tuple(int(part) for part in text.split(","))
        if len(widths) <= MAX_WIDTHS and all(1 <= width <= MAX_WIDTH for width in widths):
            return widths
    raise RddInputError(f"{text!r}: expected one of {', '.join(DECODERS)}, or widths such as 480 or 240,40")


def parse_entropy(text: str) -> tuple[int, int]:
    """Context and depth of the entropy network `16x4`. Raises RddInputError."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text)
    if match and int(match[1]) in CONTEXT_SIZES and int(match[2]) <= MAX_DEPTH:
        return int(match[1]), int(match[2])
    sizes = ", ".join(map(str, CONTEXT_SIZES))
    raise RddInputError(f"{text!r}: expected e.g. 16x4, a context of {sizes} and a depth of 0..{MAX_DEPTH}")
