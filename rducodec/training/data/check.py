"""Checks of labelled images: everything that would otherwise show as a bad accuracy after hours of training."""

from __future__ import annotations

import numpy as np

from rducodec.errors import RddInputError
from rducodec.training.data.labelled import DataSplit, LabelledImages

TOLERANCE = 1e-3  # of float pixels beyond 0..1: what a resampling in float32 may leave, a quarter of an 8-bit step
BLOCK = 4096  # images looked at together, to bound what the checks take beside the data


def check_split(data: DataSplit) -> None:
    """Raises RddInputError, with part, place and what to change, for what no training could use.

    That is: pixels that are not finite, or floats outside [0, 1]; types but uint8 and float32; labels out of range; a
    class without a training image; test images of another shape, type or list of classes.
    """
    _check_part("training", data.train)
    counts = np.bincount(data.train.labels, minlength=data.train.num_classes)
    if not counts.all():
        empty = int(np.argmin(counts))
        raise RddInputError(
            f"{data.name}: class {empty} ({data.train.class_names[empty]}) has no training image; add some, or leave "
            "the class out and number the others without gaps"
        )
    if data.test is None:
        return
    _check_part("test", data.test)
    if data.test.shape != data.train.shape:
        raise RddInputError(
            f"{data.name}: test images of {_told(data.test)}, training images of {_told(data.train)}; bring all to one "
            "size"
        )
    if data.test.class_names != data.train.class_names:
        raise RddInputError(f"{data.name}: test and training part have different classes")


def _told(part: LabelledImages) -> str:
    channels, height, width = part.shape
    return f"{width} x {height} pixels in {channels} channel{'s' if channels > 1 else ''}"


def _check_part(part: str, data: LabelledImages) -> None:
    images, labels = data.images, data.labels
    if images.ndim != 4 or not images.size:
        raise RddInputError(f"{part} images: shape {images.shape}, (N, C, H, W) with nothing empty expected")
    if labels.shape != (len(images),):
        raise RddInputError(f"{part} labels: shape {labels.shape} for {len(images)} images")
    if images.dtype == np.float32:
        _check_floats(part, images)
    elif images.dtype != np.uint8:
        raise RddInputError(
            f"{part} images: {images.dtype}; give uint8 (0..255) or floats in [0, 1], e.g. images.astype(numpy.uint8) "
            "where the values are 0..255"
        )
    wrong = (labels < 0) | (labels >= data.num_classes)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise RddInputError(
            f"{part} labels: label {index} is {labels[index]}, expected 0..{data.num_classes - 1} for "
            f"{data.num_classes} classes; labels count from 0"
        )


def _check_floats(part: str, images: np.ndarray) -> None:
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        inside = (block >= -TOLERANCE) & (block <= 1 + TOLERANCE)  # a NaN is nowhere
        if not inside.all():
            index, *place = np.argwhere(~inside)[0].tolist()
            raise RddInputError(
                f"{part} images: image {start + index} has the value {block[(index, *place)]} at {place}, [0, 1] "
                f"expected; {_advice(block)}"
            )


def _advice(block: np.ndarray) -> str:
    """What is most likely to be changed."""
    if not np.isfinite(block).all():
        return "remove or repair the image"
    if block.min() >= 0:
        return "divide pixels of 0..255 by 255, or give them as uint8"
    return "leave out the standardisation (Normalize): the training does it, as `space` says"


def check_enough(data: LabelledImages, spc: int) -> None:
    """Raises RddInputError where a class has fewer than `spc` images, the synthetic samples of each class."""
    counts = np.bincount(data.labels, minlength=data.num_classes)
    short = np.flatnonzero(counts < spc)
    if len(short):
        label = int(short[np.argmin(counts[short])])
        others = f" ({len(short) - 1} more classes have fewer than {spc})" if len(short) > 1 else ""
        raise RddInputError(
            f"spc: {spc} samples per class, but class {label} ({data.class_names[label]}) has only {counts[label]} "
            f"image{'' if counts[label] == 1 else 's'}{others}; set spc to at most {counts.min()} or add images"
        )
