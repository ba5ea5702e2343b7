"""A contact sheet: two sets of samples side by side, class under class."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

TILE_SIDE = 48  # least side of an enlarged sample, in pixels
GAP = 4  # between tiles
BLOCK_GAP = 20  # between the two blocks
MARGIN = 16
TITLE_HEIGHT = 30
LABEL_WIDTH = 24  # room for the class number left of a row
TITLE_SIZE, LABEL_SIZE = 20, 18  # font sizes
BACKGROUND, INK = (255, 255, 255), (24, 24, 24)

__all__ = ["contact_sheet"]


def contact_sheet(
    raw: ArrayLike,
    decoded: ArrayLike,
    path: str | PathLike[str],
    *,
    labels: ArrayLike,
    titles: tuple[str, str] = ("original", "decoded"),
    per_class: int = 8,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Write a picture with `per_class` samples of each class: `raw` left, the same ones as `decoded` right.

    `raw` and `decoded` are floats (N, C, H, W), C 1 or 3, in the same order as the integer `labels` (N,). Values
    are shown from black at `bounds[0]` to full at `bounds[1]`, clipped; pixels are enlarged without smoothing.
    One row a class; the format follows the suffix of `path`.
    Raises ValueError where shapes do not fit.
    """
    originals, copies, classes = np.asarray(raw), np.asarray(decoded), np.asarray(labels)
    if originals.shape != copies.shape or originals.ndim != 4 or originals.shape[1] not in (1, 3):
        raise ValueError(f"samples: raw {originals.shape}, decoded {copies.shape}, expected equal (N, 1 or 3, H, W)")
    if classes.shape != originals.shape[:1] or not len(classes):
        raise ValueError(f"labels: shape {classes.shape}, expected ({len(originals)},), at least one")
    if per_class < 1:
        raise ValueError(f"per_class: {per_class}, expected at least 1")
    names = np.unique(classes)
    rows = [np.flatnonzero(classes == name)[:per_class] for name in names]
    blocks = [_block(samples, rows, bounds) for samples in (originals, copies)]
    _compose(blocks, list(titles), [str(name) for name in names]).save(path)


def _block(samples: NDArray[np.generic], rows: list[NDArray[np.intp]], bounds: tuple[float, float]) -> Image.Image:
    """Tiles of the chosen samples, one line of tiles for each entry of `rows`."""
    height, width = samples.shape[2:]
    factor = max(1, -(-TILE_SIDE // max(height, width)))
    step_y, step_x = height * factor + GAP, width * factor + GAP
    block = Image.new("RGB", (step_x * max(map(len, rows)) - GAP, step_y * len(rows) - GAP), BACKGROUND)
    for y, chosen in enumerate(rows):
        for x, index in enumerate(chosen):
            tile = Image.fromarray(_pixels(samples[index], bounds))
            block.paste(
                tile.resize((width * factor, height * factor), Image.Resampling.NEAREST), (x * step_x, y * step_y)
            )
    return block


def _pixels(sample: NDArray[np.generic], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """Bytes (H, W, 3) of one sample (C, H, W)."""
    low, high = bounds
    scaled = np.clip((sample.astype(np.float64) - low) / (high - low), 0, 1)
    three = np.broadcast_to(scaled, (3, *sample.shape[1:]))  # (1 or 3, H, W) -> (3, H, W)
    return np.ascontiguousarray(np.rint(three * 255).astype(np.uint8).transpose(1, 2, 0))


def _compose(blocks: list[Image.Image], titles: list[str], names: list[str]) -> Image.Image:
    """The blocks side by side, each under its title, with the class names left of the rows."""
    title_font, label_font = ImageFont.load_default(TITLE_SIZE), ImageFont.load_default(LABEL_SIZE)
    label_width = max(LABEL_WIDTH, *(int(label_font.getlength(name)) + 12 for name in names))
    # A block of few tiles is narrower than its title.
    widths = [max(b.width, int(title_font.getlength(t)) + 1) for b, t in zip(blocks, titles, strict=True)]
    sheet_width = 2 * MARGIN + label_width + sum(widths) + BLOCK_GAP * (len(blocks) - 1)
    top = MARGIN + TITLE_HEIGHT
    sheet = Image.new("RGB", (sheet_width, top + blocks[0].height + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    pitch = (blocks[0].height + GAP) / len(names)
    for row, name in enumerate(names):
        middle = (MARGIN + label_width / 2 - 6, top + pitch * row + (pitch - GAP) / 2)
        draw.text(middle, name, INK, label_font, anchor="mm")
    left = MARGIN + label_width
    for block, title, width in zip(blocks, titles, widths, strict=True):
        draw.text((left, MARGIN), title, INK, title_font, anchor="lt")
        sheet.paste(block, (left, top))
        left += width + BLOCK_GAP
    return sheet
