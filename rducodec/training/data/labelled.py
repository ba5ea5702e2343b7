"""Labelled images as they are read: pixels, labels, names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rducodec.errors import RddInputError


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size; uint8 values 0..255 stand for 0..1, floats are pixels in the same unit."""

    images: np.ndarray  # uint8 or float32, (N, C, H, W), N >= 1
    labels: NDArray[np.int64]  # (N,), 0 .. len(class_names) - 1
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Classes that there may be; some may have no image."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def pixels(self, rows: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
        """Images as float32 in the unit in which 1 is full intensity."""
        chosen = self.images[rows]
        if chosen.dtype == np.uint8:
            return np.divide(chosen, np.float32(255), dtype=np.float32)
        return chosen.astype(np.float32, copy=False)

    def of_classes(self, classes: Sequence[int]) -> LabelledImages:
        """Only the images of these classes, relabelled 0, 1, ... in this order. Raises RddInputError."""
        labels, names = labels_of_classes(self.labels, self.class_names, classes)
        return LabelledImages(self.images[labels >= 0], labels[labels >= 0], names)


def labels_of_classes(
    labels: NDArray[np.int64], class_names: Sequence[str], classes: Sequence[int]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as places among `classes`, -1 for all others, and the names of these. Raises RddInputError."""
    count = len(class_names)
    if len(set(classes)) != len(classes) or not all(0 <= label < count for label in classes):
        raise RddInputError(f"classes: {list(classes)}, expected different numbers 0..{count - 1}")
    place = np.full(count, -1, np.int64)
    place[list(classes)] = np.arange(len(classes))
    return place[labels], tuple(class_names[label] for label in classes)


@dataclass(frozen=True)
class DataSplit:
    """A data set: what is distilled, and what the result is tested on."""

    name: str
    train: LabelledImages
    test: LabelledImages | None = None
    classes: tuple[int, ...] = field(default=(), kw_only=True)  # original numbers, where some were chosen

    def of_classes(self, classes: Sequence[int]) -> DataSplit:
        """Both parts with these classes only; all of them for none. Raises RddInputError."""
        if not classes:
            return self
        test = None if self.test is None else self.test.of_classes(classes)
        return DataSplit(self.name, self.train.of_classes(classes), test, classes=tuple(classes))
