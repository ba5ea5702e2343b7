"""Decoded images kept in a folder that the user gives, so that a second run need not decode them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import PIL

from rducodec.errors import RddError
from rducodec.files import replacing, translated_errors
from rducodec.interop.tensors import open_npz
from rducodec.training.data.folders import FolderListing, ImageFiles, Size
from rducodec.training.data.labelled import DataSplit, LabelledImages

VERSION = 2  # of what is kept and how images are decoded
KEY_DIGITS = 32  # hexadecimal; 128 bits keep two sources apart


def cache_file(folder: Path, listing: FolderListing, size: Size | None) -> Path:
    """Where the decoded images of a listing lie: the name is a digest of what they are decoded from and how.

    It depends on the path, length and time of change of every file, on labels and classes, on `size` and how images
    are brought to it, and on the version of Pillow, as decoders of JPEG differ. Raises RddIOError.
    """
    how = [VERSION, PIL.__version__, listing.name, size, listing.to_size.__name__ if size else None]
    digest = hashlib.sha256(json.dumps(how).encode())
    for part in (listing.train, listing.test):
        digest.update(json.dumps(None if part is None else list(_rows(part))).encode())
    return folder / f"{listing.name}-{digest.hexdigest()[:KEY_DIGITS]}.npz"


def _rows(part: ImageFiles) -> Iterable[object]:
    yield part.class_names
    for path, label in zip(part.paths, part.labels.tolist(), strict=True):
        with translated_errors(path):
            status = path.stat()
        yield str(path.absolute()), label, status.st_size, status.st_mtime_ns


def cached(
    folder: Path | None, listing: FolderListing, size: Size | None, decode: Callable[[], DataSplit]
) -> DataSplit:
    """The images of a listing from the cache, else from `decode`, and then written to the cache.

    A damaged file in the cache counts as none and is replaced. Without a folder nothing is kept. Raises RddIOError
    where the cache cannot be written, and what `decode` raises.
    """
    if folder is None:
        return decode()
    path = cache_file(folder, listing, size)
    data = _kept(path, listing)
    if data is None:
        with translated_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        data = decode()
        _keep(path, data)
    return data


def _keep(path: Path, data: DataSplit) -> None:
    with replacing(path) as stream:
        if data.test is None:
            np.savez(stream, train=data.train.images)
        else:
            np.savez(stream, train=data.train.images, test=data.test.images)


def _kept(path: Path, listing: FolderListing) -> DataSplit | None:
    """What a file of the cache holds; None where there is none, or its checksums or counts are wrong."""
    if not path.exists():
        return None
    parts = {"train": listing.train} | ({} if listing.test is None else {"test": listing.test})
    try:
        with open_npz(path) as archive:
            images = {name: archive[name] for name in parts}
    except (RddError, KeyError):
        return None
    if not all(_fits(images[name], part) for name, part in parts.items()):
        return None
    return DataSplit(
        listing.name, *(LabelledImages(images[name], part.labels, part.class_names) for name, part in parts.items())
    )


def _fits(images: np.ndarray, part: ImageFiles) -> bool:
    return images.dtype == np.uint8 and images.ndim == 4 and len(images) == len(part.paths)
