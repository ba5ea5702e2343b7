"""CIFAR-10 and CIFAR-100 (fine labels) from a user's own copy, in the binary or the python layout of its authors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.interop.pickles import told
from rducodec.training.data.labelled import DataSplit, LabelledImages
from rducodec.training.data.pickled import read_pickled_dict

SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32  # red, green, blue; each row after row


@dataclass(frozen=True)
class CifarFiles:
    """One of the two layouts: a folder and the files in it."""

    folder: str
    train: tuple[str, ...]
    test: str
    names: str  # holds the names of the classes
    names_key: str = ""  # in a pickled dict; without it the names are lines of text
    labels_key: str = ""


@dataclass(frozen=True)
class CifarSet:
    """What distinguishes CIFAR-10 from CIFAR-100, and how much a complete copy holds."""

    name: str
    archives: str  # pattern of the names of what is to be extracted
    num_classes: int
    label_bytes: int  # in front of each image of the binary layout; the last one is the label
    train_per_file: int
    num_test: int
    binary: CifarFiles
    python: CifarFiles


CIFAR10 = CifarSet(
    name="cifar10",
    archives="cifar-10-*.tar.gz",
    num_classes=10,
    label_bytes=1,
    train_per_file=10_000,
    num_test=10_000,
    binary=CifarFiles(
        "cifar-10-batches-bin", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt"
    ),
    python=CifarFiles(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "batches.meta",
        names_key="label_names",
        labels_key="labels",
    ),
)
CIFAR100 = CifarSet(
    name="cifar100",
    archives="cifar-100-*.tar.gz",
    num_classes=100,
    label_bytes=2,  # coarse, fine
    train_per_file=50_000,
    num_test=10_000,
    binary=CifarFiles("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt"),
    python=CifarFiles(
        "cifar-100-python", ("train",), "test", "meta", names_key="fine_label_names", labels_key="fine_labels"
    ),
)


def read_cifar(root: Path, which: CifarSet) -> DataSplit:
    """Training and test images, uint8 (N, 3, 32, 32), of a complete copy in `root` or in its own folder below `root`.

    The binary layout comes first where both are there. Raises RddInputError where nothing is found or a file is
    damaged, and RddIOError. Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    folder, files = _find(root, which)
    missing = [name for name in (*files.train, files.test, files.names) if not (folder / name).is_file()]
    if missing:
        raise RddInputError(
            f"{folder}: {', '.join(missing)} not found; this copy of {which.name} is incomplete, extract it again"
        )
    names = _class_names(folder / files.names, files, which)
    parts = [_read_part(folder / name, files, which, which.train_per_file) for name in files.train]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    test = LabelledImages(*_read_part(folder / files.test, files, which, which.num_test), names)
    return DataSplit(which.name, LabelledImages(images, labels, names), test)


def _find(root: Path, which: CifarSet) -> tuple[Path, CifarFiles]:
    """The folder that holds the data, and its layout."""
    for files in (which.binary, which.python):
        for folder in (root, root / files.folder):
            if any((folder / name).is_file() for name in (*files.train, files.test)):
                return folder, files
    looked = " or ".join(f"{files.train[0]} ({files.folder})" for files in (which.binary, which.python))
    with translated_errors(root):
        archives = sorted(path.name for path in root.glob(which.archives))
    what = f"extract {' or '.join(archives)}" if archives else f"download {which.name} and extract it"
    raise RddInputError(
        f"{root}: no {which.name}: looked for {looked} here and in the folders of these names; {what}, and name the "
        "folder, or the one around it"
    )


def _class_names(path: Path, files: CifarFiles, which: CifarSet) -> tuple[str, ...]:
    if files.names_key:
        names: Any = _member(path, read_pickled_dict(path), files.names_key)
        if type(names) is not list or not all(isinstance(name, str | bytes) for name in names):
            raise RddInputError(f"{path}: {files.names_key} is {told(names)}, a list of names expected")
        found = tuple(name.decode("latin-1") if isinstance(name, bytes) else name for name in names)
    else:
        with translated_errors(path):
            found = tuple(path.read_text("latin-1").split())
    if len(found) != which.num_classes:
        raise RddInputError(f"{path}: {len(found)} names of classes, {which.num_classes} expected")
    return found


def _member(path: Path, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise RddInputError(f"{path}: no {key!r} in it; it has {', '.join(sorted(content))[:200] or 'nothing'}")
    return content[key]


def _read_part(
    path: Path, files: CifarFiles, which: CifarSet, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (count, 3, 32, 32) and labels (count,) of one file."""
    read = _read_python if files.labels_key else _read_binary
    images, labels = read(path, files, which, count)
    wrong = (labels < 0) | (labels >= which.num_classes)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise RddInputError(f"{path}: label {index} is {labels[index]}, expected 0..{which.num_classes - 1}")
    return images, labels


def _read_binary(path: Path, _: CifarFiles, which: CifarSet, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    record_bytes = which.label_bytes + IMAGE_BYTES
    with translated_errors(path):
        num_bytes = path.stat().st_size
        if num_bytes != count * record_bytes:
            raise RddInputError(
                f"{path}: {num_bytes} bytes, {count * record_bytes} expected ({count} images of {record_bytes} bytes); "
                "the file is damaged or of another data set, extract it again"
            )
        records = np.fromfile(path, np.uint8).reshape(count, record_bytes)
    images = np.ascontiguousarray(records[:, which.label_bytes :]).reshape(count, *SHAPE)
    return images, records[:, which.label_bytes - 1].astype(np.int64)


def _read_python(path: Path, files: CifarFiles, _: CifarSet, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = read_pickled_dict(path)
    images, labels = _member(path, content, "data"), _member(path, content, files.labels_key)
    if not isinstance(images, np.ndarray) or images.shape != (count, IMAGE_BYTES):
        found = f"shape {images.shape}" if isinstance(images, np.ndarray) else told(images)
        raise RddInputError(f"{path}: 'data' is {found}, {count} images of {IMAGE_BYTES} bytes expected")
    if type(labels) is not list or len(labels) != count or not all(type(label) is int for label in labels):
        found = f"{len(labels)} items" if type(labels) is list else told(labels)
        raise RddInputError(f"{path}: {files.labels_key!r} is {found}, {count} integers expected")
    try:
        numbers = np.array(labels, np.int64)
    except OverflowError as error:
        raise RddInputError(f"{path}: {files.labels_key!r}: {error}") from error
    return images.reshape(count, *SHAPE).copy(), numbers  # not the bytes of the pickle, which cannot be written
