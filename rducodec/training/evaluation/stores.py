"""Ways to keep real images in few bytes that anybody has at hand: image files, sheets of them, plain pixels, raw .rdd.

A store counts what the images take, label-free: which class an image has costs nothing, as if told by folders.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rducodec.bitstream.header import RawConfig, ValueSpace
from rducodec.interop.source import BYTE_BITS, PIXEL_DIVISOR
from rducodec.labels import Labels
from rducodec.writer import pack_raw

Pixels = NDArray[np.uint8]
Groups = Sequence[NDArray[np.int64]]  # indices of the images of each class
PICTURE_CHANNELS = (1, 3)  # that image files have
SLOWEST_WEBP = 6  # method that searches longest for few bytes
LOSSLESS_WEBP = (75, 4)  # effort and method (measured: 1.5 % smaller than the slowest, (100, 6))
GREY_BLOCK, COLOUR_BLOCK = 8, 16  # pixels that JPEG (and WebP, about) code together; colour at half resolution
NEUTRAL = 128  # where a sheet has no image


class Store(Protocol):
    """Images (N, C, H, W), uint8, of which some are kept."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def codec_name(self) -> str:
        """What decides about the decoded pixels: stores of one codec keep nearly the same ones."""

    def num_bytes(self, groups: Groups) -> int:
        """Exact size of these images."""

    def header_bytes(self, groups: Groups) -> int:
        """What as many flat grey images take: headers, tables, framing."""

    def decoded(self, groups: Groups) -> Pixels:
        """What comes back of these images, class after class."""


@dataclass(frozen=True)
class Codec:
    """An encoder of one picture, uint8 (C, H, W), and its settings."""

    name: str
    encode: Callable[[Pixels], bytes]


def _saved(pixels: Pixels, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2))
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _opened(data: bytes, channels: int) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels[None] if channels == 1 else np.moveaxis(pixels, 2, 0)


def png() -> Codec:
    """Lossless, with the best filters and deflate settings that Pillow tries."""
    return Codec("PNG", lambda pixels: _saved(pixels, "PNG", optimize=True))


def lossless_webp() -> Codec:
    """Lossless, at an effort beyond which sheets of photographs get no smaller, only fifty times slower."""
    effort, method = LOSSLESS_WEBP
    return Codec("lossless WebP", lambda pixels: _saved(pixels, "WEBP", lossless=True, quality=effort, method=method))


def jpeg(quality: int) -> Codec:
    """Colour at half resolution, Huffman tables of the picture; baseline or progressive, whichever is smaller."""

    def encode(pixels: Pixels) -> bytes:
        forms = (_saved(pixels, "JPEG", quality=quality, optimize=True, progressive=p) for p in (False, True))
        return min(forms, key=len)

    return Codec(f"JPEG quality {quality}", encode)


def webp(quality: int) -> Codec:
    """Lossy, the slowest and smallest method."""
    return Codec(f"WebP quality {quality}", lambda pixels: _saved(pixels, "WEBP", quality=quality, method=SLOWEST_WEBP))


@dataclass(frozen=True)
class PictureFiles:
    """One file an image; its headers count."""

    images: Pixels
    codec: Codec
    _made: dict[int, bytes] = field(default_factory=dict)  # of images that were encoded before

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.codec.name}, one file an image"

    @property
    def codec_name(self) -> str:
        """Of the pictures."""
        return self.codec.name

    def _file(self, row: int) -> bytes:
        if row not in self._made:
            self._made[row] = self.codec.encode(self.images[row])
        return self._made[row]

    def num_bytes(self, groups: Groups) -> int:
        """Sum of the sizes of all files."""
        return sum(len(self._file(int(row))) for group in groups for row in group)

    def header_bytes(self, groups: Groups) -> int:
        """One flat image, as often as there are images."""
        return sum(map(len, groups)) * len(self.codec.encode(np.full_like(self.images[0], NEUTRAL)))

    def decoded(self, groups: Groups) -> Pixels:
        """uint8 (n, C, H, W)."""
        channels = self.images.shape[1]
        return np.stack([_opened(self._file(int(row)), channels) for group in groups for row in group])


@dataclass(frozen=True)
class PictureSheets:
    """One file a class, all of its images side by side: headers are paid once.

    Images are continued to whole blocks of the codec, so that neighbours do not touch each other (but for one pixel
    at the border, over which decoders smooth the colour of JPEG).
    """

    images: Pixels
    codec: Codec

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.codec.name}, one sheet a class"

    @property
    def codec_name(self) -> str:
        """Of the pictures."""
        return self.codec.name

    def num_bytes(self, groups: Groups) -> int:
        """Sum of the sizes of all sheets."""
        return sum(len(self.codec.encode(self._sheet(group))) for group in groups if len(group))

    def header_bytes(self, groups: Groups) -> int:
        """Flat sheets of the same sizes."""
        sheets = (self._sheet(group) for group in groups if len(group))
        return sum(len(self.codec.encode(np.full_like(sheet, NEUTRAL))) for sheet in sheets)

    def decoded(self, groups: Groups) -> Pixels:
        """uint8 (n, C, H, W)."""
        return np.concatenate([self._cut(group) for group in groups if len(group)])

    def _tile(self) -> tuple[int, int]:
        channels, height, width = self.images.shape[1:]
        block = GREY_BLOCK if channels == 1 else COLOUR_BLOCK
        return height + -height % block, width + -width % block

    def _grid(self, count: int) -> tuple[int, int]:
        columns = math.ceil(math.sqrt(count))
        return math.ceil(count / columns), columns

    def _sheet(self, group: NDArray[np.int64]) -> Pixels:
        (channels, height, width), (tall, wide) = self.images.shape[1:], self._tile()
        rows, columns = self._grid(len(group))
        tiles = np.full((rows * columns, channels, tall, wide), NEUTRAL, np.uint8)
        padding = ((0, 0), (0, 0), (0, tall - height), (0, wide - width))
        tiles[: len(group)] = np.pad(self.images[group], padding, mode="edge")
        tiles = tiles.reshape(rows, columns, channels, tall, wide).transpose(2, 0, 3, 1, 4)
        return np.ascontiguousarray(tiles.reshape(channels, rows * tall, columns * wide))

    def _cut(self, group: NDArray[np.int64]) -> Pixels:
        (channels, height, width), (tall, wide) = self.images.shape[1:], self._tile()
        rows, columns = self._grid(len(group))
        sheet = _opened(self.codec.encode(self._sheet(group)), channels)
        tiles = sheet.reshape(channels, rows, tall, columns, wide).transpose(1, 3, 0, 2, 4)
        return tiles.reshape(-1, channels, tall, wide)[: len(group), :, :height, :width]


@dataclass(frozen=True)
class PlainPixels:
    """One byte a value and nothing else."""

    images: Pixels

    @property
    def name(self) -> str:
        """For tables."""
        return "8-bit pixels"

    @property
    def codec_name(self) -> str:
        """The same."""
        return self.name

    def num_bytes(self, groups: Groups) -> int:
        """Channels x height x width bytes an image."""
        return sum(len(group) for group in groups) * int(np.prod(self.images.shape[1:]))

    def header_bytes(self, groups: Groups) -> int:  # noqa: ARG002 - the interface
        """None."""
        return 0

    def decoded(self, groups: Groups) -> Pixels:
        """The images themselves."""
        return self.images[np.concatenate(groups)]


@dataclass(frozen=True)
class RawFile:
    """A .rdd file of the raw profile: lossless, one slice a class, labels and header included."""

    images: Pixels

    @property
    def name(self) -> str:
        """For tables."""
        return ".rdd, raw profile"

    @property
    def codec_name(self) -> str:
        """The same."""
        return self.name

    def num_bytes(self, groups: Groups) -> int:
        """Size of the file."""
        return _raw_bytes(self.decoded(groups), groups)

    def header_bytes(self, groups: Groups) -> int:
        """The file of flat images."""
        return _raw_bytes(np.full_like(self.decoded(groups), NEUTRAL), groups)

    def decoded(self, groups: Groups) -> Pixels:
        """The images themselves."""
        return self.images[np.concatenate(groups)]


def _raw_bytes(pixels: Pixels, groups: Groups) -> int:
    labels = Labels(np.array([len(group) for group in groups], np.int64))
    config = RawConfig(is_float=False, bits=BYTE_BITS, divisor=PIXEL_DIVISOR)
    return len(pack_raw(pixels, labels, config, space=ValueSpace()))
