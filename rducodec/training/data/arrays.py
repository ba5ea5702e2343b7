"""Labelled images from arrays: .npz files, any torch Dataset, and the digits that travel with the package."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rducodec.demo import MAX_TRAIN_PER_CLASS, NUM_CLASSES, split_digits
from rducodec.errors import RddInputError, RddIOError
from rducodec.files import translated_errors
from rducodec.interop.source import naming, native_array
from rducodec.interop.tensors import LABEL_KEYS, SAMPLE_KEYS, open_npz
from rducodec.labels import MAX_CLASSES
from rducodec.training.data.check import check_split
from rducodec.training.data.labelled import DataSplit, LabelledImages

TRAIN_KEYS, TEST_KEYS = ("x_train", "y_train"), ("x_test", "y_test")
NAMES_KEY = "class_names"
IMAGE_CHANNELS = (1, 3)
DIGITS_SEED = 0  # of the split: the test set is the same in every experiment
CHANNELS_FIRST = "channels first"
CHANNELS_LAST = "channels last"


class Dataset(Protocol):
    """What is needed of torch.utils.data.Dataset."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int) -> Any:
        """An image and its label."""


def read_arrays(path: Path) -> DataSplit:
    """The data set of an .npz file: x_train, y_train and, if there, x_test, y_test; or samples, labels.

    Images are (N, C, H, W), (N, H, W, C) with 1 or 3 channels, or (N, H, W); labels (N,) or (N, 1). An array
    `class_names` of text is optional. Raises RddInputError for anything else and as `check_split`, and RddIOError.
    """
    _check_file(path)
    given = ", ".join(f"{key}=..." for key in (*TRAIN_KEYS, *TEST_KEYS))
    with open_npz(path, advice=f"numpy.savez(PATH, {given}) writes one") as archive:
        train_keys, test_keys = _array_keys(archive)
        pairs = [(x, y) for x, y in (train_keys, test_keys) if x in archive and y in archive]
        arrays = [(_array(archive, x), _array(archive, y)) for x, y in pairs]
        names = [str(name) for name in _array(archive, NAMES_KEY)] if NAMES_KEY in archive else None
    with naming(path):
        return from_arrays(*arrays, class_names=names, name=path.stem)


def _check_file(path: Path) -> None:
    with translated_errors(path):
        if not path.is_file():
            what, number = ("is no file", errno.EISDIR) if path.exists() else ("no such file", errno.ENOENT)
            raise RddIOError(number, f"{path}: {what}; --root PATH (root= in Python) is the .npz file itself")


def _array(archive: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """An array of numbers or text; RddInputError for one of objects, whose pickles are never read."""
    try:
        return archive[key]
    except ValueError as error:
        if "Object arrays" not in str(error):  # numpy has no class of errors for it
            raise
        raise RddInputError(
            f"{key} holds Python objects, which numpy makes of images of several sizes: bring all to one size; or say "
            "the type when you make the array, e.g. dtype=str for names"
        ) from error


def _array_keys(archive: Iterable[str]) -> tuple[tuple[str, str], tuple[str, str]]:
    """Keys of images and labels, of the training and of the test part."""
    keys = set(archive)
    half = [pair for pair in (TRAIN_KEYS, TEST_KEYS) if len(keys.intersection(pair)) == 1]
    if half:
        raise RddInputError(f"one of {' and '.join(half[0])} is there, the other is not")
    if keys.issuperset(TRAIN_KEYS):
        return TRAIN_KEYS, TEST_KEYS
    samples, labels = (next((key for key in wanted if key in keys), "") for wanted in (SAMPLE_KEYS, LABEL_KEYS))
    if not samples or not labels or keys.issuperset(TEST_KEYS):
        here = ", ".join(sorted(keys))[:200] or "nothing"
        raise RddInputError(
            f"{', '.join((*TRAIN_KEYS, *TEST_KEYS))} (or samples, labels) expected; the file has {here}"
        )
    return (samples, labels), TEST_KEYS


def from_arrays(
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
) -> DataSplit:
    """The data set of pairs (images, labels) of numpy or torch, of the shapes that `read_arrays` takes.

    Without `class_names`, classes are called 0, 1, ... up to the largest label of the training images.
    Raises RddInputError as `check_split`.
    """
    order = _channel_order(native_array(train[0], "training images").shape)
    pairs = {"training": train} | ({} if test is None else {"test": test})
    images = {part: _images(*pair, order, part) for part, pair in pairs.items()}
    if class_names is None:
        labels = images["training"][1]
        largest = int(labels.max()) if len(labels) else 0
        class_names = [str(label) for label in range(min(max(largest, 0), MAX_CLASSES - 1) + 1)]
        _check_gaps(labels, len(class_names))
    parts = [LabelledImages(*arrays, tuple(class_names)) for arrays in images.values()]
    data = DataSplit(name, *parts)
    check_split(data)
    return data


def _check_gaps(labels: NDArray[np.int64], num_classes: int) -> None:
    """Raises RddInputError for labels without an image below the largest one, which says how many classes there are."""
    if labels.ndim != 1 or not len(labels) or not 0 <= labels.min() <= labels.max() < num_classes:
        return  # `check_split` tells what is wrong
    empty = np.flatnonzero(np.bincount(labels) == 0)
    if len(empty):
        index = int(np.argmax(labels))
        others = f" (and {len(empty) - 1} more have none)" if len(empty) > 1 else ""
        raise RddInputError(
            f"training labels: label {index} is {labels[index]}, the largest, so classes are 0..{labels[index]}, but "
            f"class {empty[0]} has no training image{others}; correct that label, add images, or number the classes "
            "from 0 without gaps"
        )


def _channel_order(shape: tuple[int, ...]) -> str:
    """Where the channels are; first, where it could be both."""
    if len(shape) == 3 or (len(shape) == 4 and shape[1] in IMAGE_CHANNELS):
        return CHANNELS_FIRST
    if len(shape) == 4 and shape[3] in IMAGE_CHANNELS:
        return CHANNELS_LAST
    raise RddInputError(
        f"training images: shape {shape}, expected (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, or (N, H, W)"
    )


def _images(images: Any, labels: Any, order: str, part: str) -> tuple[np.ndarray, NDArray[np.int64]]:
    """Images uint8 or float32 (N, C, H, W), and labels (N,)."""
    values, numbers = native_array(images, f"{part} images"), native_array(labels, f"{part} labels")
    if values.ndim == 3:
        values = values[:, None]
    elif order == CHANNELS_LAST and values.ndim == 4:
        values = np.moveaxis(values, 3, 1)
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.dtype.kind == "f" and not np.array_equal(numbers, np.rint(numbers)):
        raise RddInputError(f"{part} labels: {numbers.dtype} that are no integers")
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinite values are refused with the others out of range
            values = values.astype(np.float32, copy=False)
    return np.ascontiguousarray(values), numbers.astype(np.int64)


def from_torch_dataset(
    train: Dataset, test: Dataset | None = None, class_names: Sequence[str] | None = None, *, name: str = "dataset"
) -> DataSplit:
    """The data set of torch Datasets whose items are (image, label), read once from the first to the last.

    Images are tensors (C, H, W), uint8 or float in [0, 1], or Pillow images; labels integers. Class names are those
    given, else `train.classes` as torchvision has it, else numbers. Random transforms would be drawn once: leave
    them out, the training augments. Raises RddInputError, with the index of an item of another kind or size, and as
    `check_split`.
    """
    if class_names is None and hasattr(train, "classes"):
        class_names = [str(each) for each in train.classes]
    parts = [_items(train, "training")] + ([] if test is None else [_items(test, "test")])
    return from_arrays(*parts, class_names=class_names, name=name)


def _items(dataset: Dataset, part: str) -> tuple[np.ndarray, NDArray[np.int64]]:
    images: list[np.ndarray] = []
    labels = []
    for index in range(len(dataset)):
        where = f"{part} item {index}"
        item = dataset[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise RddInputError(f"{where}: {type(item).__name__}, a pair (image, label) expected")
        image = _one_image(item[0], where)
        if images and (image.shape != images[0].shape or image.dtype != images[0].dtype):
            raise RddInputError(
                f"{where}: {image.dtype} of shape {image.shape}, but the first one is {images[0].dtype} of shape "
                f"{images[0].shape}; bring all to one size and type in the transform of the data set"
            )
        images.append(image)
        labels.append(_one_label(item[1], where))
    if not images:
        raise RddInputError(f"{part} part: no items")
    return np.stack(images), np.array(labels, np.int64)


def _one_image(image: Any, where: str) -> np.ndarray:
    """An array (C, H, W)."""
    if hasattr(image, "getbands"):  # Pillow
        if image.mode not in ("L", "RGB"):
            raise RddInputError(f"{where}: image mode {image.mode}, L or RGB expected; convert it in the transform")
        pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    array = native_array(image, where)
    if array.ndim != 3 or array.shape[0] not in IMAGE_CHANNELS:
        raise RddInputError(f"{where}: shape {array.shape}, (channels, height, width) with 1 or 3 channels expected")
    return array


def _one_label(label: Any, where: str) -> int:
    number = native_array(label, f"{where}: label")
    if number.size != 1 or number.dtype.kind == "f":
        raise RddInputError(f"{where}: label {label!r:.40}, an integer expected")
    return int(number.reshape(()))


def read_digits() -> DataSplit:
    """The embedded handwritten digits, float32 (N, 1, 8, 8): 124 of each to train on, 50 of each to test on."""
    split = split_digits(MAX_TRAIN_PER_CLASS, DIGITS_SEED)
    names = tuple(str(digit) for digit in range(NUM_CLASSES))
    train = LabelledImages(split.train_samples, split.train_labels, names)
    return DataSplit("digits", train, LabelledImages(split.test_samples, split.test_labels, names))
