"""Folders of images, class/image, for training and test: listed first, then decoded by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rducodec.errors import RddInputError
from rducodec.interop.folder import opened_image, pillow_warnings, visible_entries
from rducodec.parallel import map_threads
from rducodec.training.data.labelled import DataSplit, LabelledImages, labels_of_classes

TRAIN, TESTS = "train", ("test", "val")  # of two test folders the first one counts
DEEP_MODES = frozenset(("F", "I", "I;16", "I;16B", "I;16L", "I;16N"))  # would lose what is beyond 8 bits
GREY_MODES = frozenset(("1", "L", "LA"))
OPAQUE = 255
CHUNK = 32  # images that a thread takes at once: a task for each would cost as much as a small JPEG

Size = tuple[int, int]  # height, width
ToSize = Callable[[Image.Image, Size], Image.Image]


def cropped(image: Image.Image, size: Size) -> Image.Image:
    """The middle of an image scaled (bicubic) until it just covers `size`; sides and cut rounded as in torchvision."""
    height, width = size
    if image.height * width <= image.width * height:  # the height binds
        scaled = (height, max(width, image.width * height // image.height))
    else:
        scaled = (max(height, image.height * width // image.width), width)
    if scaled != (image.height, image.width):
        image = image.resize((scaled[1], scaled[0]), Image.Resampling.BICUBIC)
    top, left = (round((whole - part) / 2) for whole, part in zip(scaled, size, strict=True))
    return image.crop((left, top, left + width, top + height))


def stretched(image: Image.Image, size: Size) -> Image.Image:
    """The whole image, each axis scaled by itself."""
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class ImageFiles:
    """Files with their labels."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def of_classes(self, classes: Sequence[int]) -> ImageFiles:
        """As `LabelledImages.of_classes`."""
        labels, names = labels_of_classes(self.labels, self.class_names, classes)
        paths = tuple(path for path, label in zip(self.paths, labels, strict=True) if label >= 0)
        if not paths:
            raise RddInputError(f"classes {', '.join(names)}: no images")
        return ImageFiles(paths, labels[labels >= 0], names)


@dataclass(frozen=True)
class FolderListing:
    """What a folder of images holds, before anything is decoded."""

    name: str
    train: ImageFiles
    test: ImageFiles | None
    to_size: ToSize = cropped  # how an image is brought to a size

    def of_classes(self, classes: Sequence[int]) -> FolderListing:
        """As `DataSplit.of_classes`."""
        if not classes:
            return self
        test = None if self.test is None else self.test.of_classes(classes)
        return replace(self, train=self.train.of_classes(classes), test=test)


def list_folder(root: Path, name: str = "folder") -> FolderListing:
    """Images of `root`/train/CLASS and `root`/test/CLASS (or val), or of `root`/CLASS without a test part.

    Classes are the folders of the training part in order of their names; names that begin with a dot are passed over.
    Raises RddInputError for a loose file, a class that only the test part has, or no image; and RddIOError.
    """
    train, test = split_folders(root)
    classes = [folder.name for folder in class_folders(train)]
    return FolderListing(name, list_classes(train, classes), None if test is None else list_classes(test, classes))


def split_folders(root: Path, *, classes: str = "CLASS") -> tuple[Path, Path | None]:
    """The folders of the training and the test part; `classes` stands for folders in them in an error's text."""
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise RddInputError(f"{root}: {what}; {TRAIN}/{classes}/IMAGE or {classes}/IMAGE expected in it")
    if not (root / TRAIN).is_dir():
        return root, None
    return root / TRAIN, next((root / name for name in TESTS if (root / name).is_dir()), None)


def class_folders(part: Path) -> list[Path]:
    """Folders in order of their names. RddInputError where there is none."""
    folders = [entry for entry in visible_entries(part) if entry.is_dir()]
    if not folders:
        raise RddInputError(f"{part}: no folders of classes; CLASS/IMAGE.jpg expected")
    return folders


def list_classes(part: Path, folder_names: Sequence[str], class_names: Sequence[str] | None = None) -> ImageFiles:
    """Images of these class folders of a part, class after class, in order of their names; the labels count up.

    Raises RddInputError for a class folder of the part that is not among them, unless `class_names` says what the
    folders are to be called.
    """
    if class_names is None:
        extra = [folder.name for folder in class_folders(part) if folder.name not in set(folder_names)]
        if extra:
            raise RddInputError(f"{part / extra[0]}: a class that the training part does not have")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(folder_names):
        files = visible_entries(part / name) if (part / name).is_dir() else []
        inner = next((file for file in files if file.is_dir()), None)
        if inner is not None:
            raise RddInputError(f"{inner}: a folder within a class; its images are expected one folder above")
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise RddInputError(f"{part}: no images; CLASS/IMAGE.jpg expected")
    return ImageFiles(tuple(paths), np.array(labels, np.int64), tuple(class_names or folder_names))


def decode_listing(listing: FolderListing, size: Size | None = None) -> DataSplit:
    """Images uint8 (N, C, H, W), one channel where all are grey, else three.

    With `size`, each is brought to this height and width, as the listing says; without, all must have one size. The
    orientation that a camera noted is not applied, as in torchvision's ImageFolder. Raises RddInputError, naming the
    file, for damaged, transparent or deeper than 8-bit images and for another size; and RddIOError.
    """
    parts = [listing.train] if listing.test is None else [listing.train, listing.test]
    paths = [path for part in parts for path in part.paths]
    images = _decode(paths, size, listing.to_size)
    count = len(listing.train.paths)
    train = LabelledImages(images[:count], listing.train.labels, listing.train.class_names)
    if listing.test is None:
        return DataSplit(listing.name, train)
    return DataSplit(listing.name, train, LabelledImages(images[count:], listing.test.labels, listing.test.class_names))


def read_image_folder(root: Path, *, size: Size | None = None) -> DataSplit:
    """`decode_listing` of `list_folder`."""
    return decode_listing(list_folder(root), size)


def _decode(paths: Sequence[Path], size: Size | None, to_size: ToSize) -> NDArray[np.uint8]:
    """All images; every one is written to its place once, as the whole may take most of the memory."""
    height, width = size or _size_of(paths[0])
    images = np.empty((len(paths), 3, height, width), np.uint8)
    is_grey = np.empty(len(paths), bool)
    failed = threading.Event()

    def decode(rows: range) -> None:
        if failed.is_set():  # by a thread whose error is about to be raised
            return
        try:
            for row in rows:
                pixels = _pixels(paths[row], size, to_size)
                if pixels.shape[:2] != (height, width):
                    raise RddInputError(
                        f"{paths[row]}: {_told(pixels.shape[:2])}, but {paths[0]} has {_told((height, width))}; give a "
                        "size that all images are brought to"
                    )
                is_grey[row] = pixels.ndim == 2
                images[row] = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        except BaseException:
            failed.set()
            raise

    chunks = [range(start, min(start + CHUNK, len(paths))) for start in range(0, len(paths), CHUNK)]
    with pillow_warnings():
        map_threads(decode, chunks, None)
    return images[:, :1].copy() if is_grey.all() else images


def _told(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"


def _size_of(path: Path) -> Size:
    with pillow_warnings(), opened_image(path) as image:
        return image.height, image.width


def _pixels(path: Path, size: Size | None, to_size: ToSize) -> NDArray[np.uint8]:
    """uint8 (height, width), or (height, width, 3)."""
    with opened_image(path) as image:
        plain = _plain_image(image, path)
        return np.asarray(plain if size is None else to_size(plain, size))


def _plain_image(image: Image.Image, path: Path) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode in DEEP_MODES:
        raise RddInputError(f"{path}: image mode {image.mode}, with more than 8 bits; convert it to 8 bits first")
    mode = "L" if image.mode in GREY_MODES else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != OPAQUE:
            raise RddInputError(f"{path}: transparent pixels; put the image on a background first")
    return image.convert(mode)
