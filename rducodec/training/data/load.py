"""Data sets by name, checked: what a configuration of a distillation asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rducodec.errors import RddInputError
from rducodec.training.data.arrays import read_arrays, read_digits
from rducodec.training.data.cache import cached
from rducodec.training.data.check import check_split
from rducodec.training.data.cifar import CIFAR10, CIFAR100, read_cifar
from rducodec.training.data.folders import FolderListing, Size, decode_listing, list_folder
from rducodec.training.data.labelled import DataSplit
from rducodec.training.data.subsets import SUBSETS, list_subset

DIGITS = "digits"
FOLDER = "folder"
# Data sets that are read as they are.
_FILES: dict[str, Callable[[Path], DataSplit]] = {
    "cifar10": lambda root: read_cifar(root, CIFAR10),
    "cifar100": lambda root: read_cifar(root, CIFAR100),
    "npz": read_arrays,
}
NAMES = (*_FILES, *SUBSETS, FOLDER, DIGITS)


def load_data(
    name: str,
    root: Path | None = None,
    *,
    size: Size | int | None = None,
    classes: Sequence[int] = (),
    cache: Path | None = None,
) -> DataSplit:
    """The data set `name`, one of `NAMES`, from the user's own copy in `root` (digits need none).

    Folders of images are brought to `size`, (height, width) or one number for both: scaled and cut, but for subsets of
    ImageNet, which are stretched as in the published experiments. They are kept decoded in the folder `cache` if it is
    given. Other data sets are read as they are, and refuse another size. With `classes` only these are there, numbered
    anew in this order; of a folder no others are decoded, and images have one channel where all of these are grey.

    >>> data = load_data("digits")
    >>> data.train.images.shape, data.train.num_classes
    ((1240, 1, 8, 8), 10)

    Raises RddInputError for an unknown name, for what is missing or damaged, and as `check_split`; and RddIOError.
    """
    if name not in NAMES:
        raise RddInputError(f"data {name!r}: unknown, expected one of {', '.join(NAMES)}")
    wanted = _checked_size(size)
    if name == DIGITS:
        if root is not None:
            raise RddInputError(f"data {DIGITS!r}: these images come with the package; leave out the folder {root}")
        data = read_digits().of_classes(classes)
    elif root is None:
        raise RddInputError(f"data {name!r}: say where your copy of it is: --root PATH (root= in Python)")
    elif name in _FILES:
        data = _FILES[name](root).of_classes(classes)
    else:
        listing = list_folder(root) if name == FOLDER else list_subset(root, name)
        data = _read_images(listing.of_classes(classes), wanted, cache)
    if wanted is not None and data.train.shape[1:] != wanted:
        height, width = data.train.shape[1:]
        raise RddInputError(f"data {name!r}: its images are {width} x {height}; a size is for folders of images only")
    check_split(data)
    return replace(data, classes=tuple(classes))


def _read_images(listing: FolderListing, size: Size | None, cache: Path | None) -> DataSplit:
    return cached(cache, listing, size, lambda: decode_listing(listing, size))


def _checked_size(size: Size | int | None) -> Size | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise RddInputError(f"size: {height} x {width} pixels, at least 1 x 1 expected")
    return height, width
