"""Sizes are those of real files, and what comes back are the images in the order of the classes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import rducodec
from rducodec.training.evaluation import stores
from rducodec.training.evaluation.stores import PictureFiles, PictureSheets, PlainPixels, RawFile, Store

GROUPS = [np.array([4, 0, 2]), np.array([], np.int64), np.array([1, 3, 5, 6, 7])]
ROWS = np.array([4, 0, 2, 1, 3, 5, 6, 7])


def images(channels: int, height: int = 12, width: int = 20) -> np.ndarray:
    """Smooth ones, as photographs are."""
    rng = np.random.default_rng(channels)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0, 0.4, (8 * channels, 3))]
    return np.rint(127.5 + 100 * np.stack(waves)).astype(np.uint8).reshape(8, channels, height, width)


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_stores_give_the_images_back(channels: int) -> None:
    found = images(channels)
    kept: list[Store] = [PlainPixels(found), RawFile(found)]
    for codec in (stores.png(), stores.lossless_webp()):
        kept += [PictureFiles(found, codec), PictureSheets(found, codec)]
    for store in kept:
        assert np.array_equal(store.decoded(GROUPS), found[ROWS]), store.name


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", [stores.jpeg(75), stores.webp(75)], ids=lambda codec: codec.name)
def test_lossy_stores_give_nearly_the_images_back(channels: int, codec: stores.Codec) -> None:
    found = images(channels)
    for store in (PictureFiles(found, codec), PictureSheets(found, codec)):
        error = store.decoded(GROUPS).astype(float) - found[ROWS]
        assert 0 < np.square(error).mean() < 200, store.name


def test_plain_pixels_are_a_byte_a_value() -> None:
    assert PlainPixels(images(3)).num_bytes(GROUPS) == 8 * 3 * 12 * 20
    assert PlainPixels(images(3)).header_bytes(GROUPS) == 0


def test_picture_files_are_counted_one_by_one() -> None:
    found = images(1)
    total = 0
    for row in ROWS:
        sizes = []
        for progressive in (False, True):
            stream = io.BytesIO()
            Image.fromarray(found[row, 0]).save(stream, "JPEG", quality=25, optimize=True, progressive=progressive)
            sizes.append(len(stream.getvalue()))
        total += min(sizes)
    assert PictureFiles(found, stores.jpeg(25)).num_bytes(GROUPS) == total


def test_raw_file_is_a_file() -> None:
    found = images(3)
    data = rducodec.pack_raw(
        found[ROWS],
        rducodec.Labels(np.array([3, 0, 5])),
        rducodec.RawConfig(False, 8, 255),
        space=rducodec.ValueSpace(),
    )
    assert RawFile(found).num_bytes(GROUPS) == len(data)


def test_sheets_save_headers() -> None:
    found = images(3)
    for codec in (stores.png(), stores.jpeg(25), stores.webp(25)):
        files, sheets = PictureFiles(found, codec), PictureSheets(found, codec)
        assert sheets.num_bytes(GROUPS) < files.num_bytes(GROUPS)
        assert sheets.header_bytes(GROUPS) < files.header_bytes(GROUPS) < files.num_bytes(GROUPS)


def test_neighbours_on_a_sheet_do_not_touch_each_other() -> None:
    found = images(3)
    other = found.copy()
    other[[1, 3, 5, 6]] = 255 - other[[1, 3, 5, 6]]
    codec = stores.jpeg(10)
    last = [PictureSheets(each, codec).decoded(GROUPS)[-1] for each in (found, other)]
    assert np.array_equal(last[0][:, 1:, 1:], last[1][:, 1:, 1:])  # but for colour, smoothed over one pixel
