"""Folders of images: class/image.png, as samples; and samples as such a folder."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.interop.source import PIXEL_DIVISOR, SourceSet, check_expanded, make_source

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's name for 8-bit images of so many channels
_LOSSLESS = {"1": "L", "P": "RGB"}  # modes that are read as another one
# What Pillow raises for damaged or hostile images, besides OSError.
_IMAGE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    MemoryError,
    OverflowError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def visible_entries(folder: Path) -> list[Path]:
    """What a folder holds, in order of the names, but names that begin with a dot. Raises RddIOError."""
    with translated_errors(folder):
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image of one frame. Raises RddIOError, and RddInputError for whatever Pillow raises inside the context."""
    if path.suffix.lower() not in SUFFIXES:
        raise RddInputError(f"{path}: not an image (its name ends in none of {' '.join(sorted(SUFFIXES))})")
    with translated_errors(path), path.open("rb"):
        pass  # a file that the system refuses is told from a damaged image
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise RddInputError(f"{path}: {frames} frames, one expected")
            yield image
    except RddInputError:
        raise
    except _IMAGE_ERRORS as error:
        raise RddInputError(f"{path}: cannot be read as an image: {error}") from error


@contextmanager
def pillow_warnings() -> Iterator[None]:
    """Inside, images too large to be meant are errors, and damaged metadata passes in silence.

    The filters belong to the process: a caller with threads enters once, around them.
    """
    with warnings.catch_warnings(action="ignore"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _read_image(path: Path) -> np.ndarray:
    """uint8 (channels, height, width)."""
    with pillow_warnings(), opened_image(path) as image:
        mode = _LOSSLESS.get(image.mode, image.mode)
        if mode not in MODES.values() or "transparency" in image.info:
            raise RddInputError(f"{path}: image mode {image.mode}, expected opaque 1 L P RGB, or RGBA")
        pixels = np.asarray(image.convert(mode))
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def read_folder(path: Path, *, space: ValueSpace | None = None) -> SourceSet:
    """8-bit pixels of `path`/class/image, images in order of their names; the classes are the sorted folder names.

    Names that begin with a dot are passed over. Raises RddInputError, naming the file, where images differ in size or
    mode, or a class holds anything else; RddIOError for what the system refuses.
    """
    if space is not None and space.kind != "pixels":
        raise RddInputError(f"space: a folder of images holds pixels, not {space.kind}")
    entries = visible_entries(path)
    loose = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES]
    if loose:
        raise RddInputError(f"{loose[0]}: image without a class; {path}/CLASS/{loose[0].name} expected")
    folders = [entry for entry in entries if entry.is_dir()]
    images: list[np.ndarray] = []
    labels: list[int] = []
    first: Path | None = None
    for label, folder in enumerate(folders):
        for file in visible_entries(folder):
            pixels = _read_image(file)
            if first is None:
                first = file
            elif pixels.shape != images[0].shape:
                raise RddInputError(f"{file}: {_size(pixels)}, but {first} has {_size(images[0])}")
            check_expanded(pixels.size * (len(images) + 1))
            images.append(pixels)
            labels.append(label)
    if not images:
        raise RddInputError(f"{path}: no images; {path}/CLASS/IMAGE.png expected")
    return make_source(np.stack(images), labels, space=space, class_names=[folder.name for folder in folders])


def _size(pixels: np.ndarray) -> str:
    channels, height, width = pixels.shape
    return f"{width} x {height} pixels of mode {MODES[channels]}"


def check_pixels(channels: int, space: ValueSpace | None) -> None:
    """Raises RddInputError for samples that `to_pixels` refuses: no way back to pixels, or no images."""
    elsewhere = "decode to .npz, .pt or .safetensors instead"
    if space is None or space.kind not in ("pixels", "standardised"):
        kind = "the value space is not stated" if space is None else f"the value space is {space.kind} ({space.text})"
        raise RddInputError(f"{kind}, which cannot be shown as images; {elsewhere}")
    if channels not in MODES:
        raise RddInputError(f"samples have {channels} channels, images 1, 3 or 4; {elsewhere}")


def to_pixels(samples: np.ndarray, space: ValueSpace | None) -> np.ndarray:
    """uint8 pixels, the nearest to float samples (n, channels, height, width) of this space; the rest is clipped.

    Raises RddInputError as `check_pixels`.
    """
    check_pixels(samples.shape[1], space)
    assert space is not None
    pixels = samples.astype(np.float64)
    if space.kind == "standardised":
        mean, std = (np.array(numbers)[:, None, None] for numbers in (space.mean, space.std))
        pixels = pixels * std + mean
    return np.rint(np.clip(pixels, 0, 1) * PIXEL_DIVISOR).astype(np.uint8)


def write_image(path: Path, pixels: np.ndarray) -> None:
    """One PNG of uint8 pixels (channels, height, width). Raises OSError."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2))
    image.save(path, "PNG")
