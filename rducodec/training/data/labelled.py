"""Labelled images as they are read: pixels, labels, names of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


@dataclass(frozen=True)
class DataSplit:
    """A data set: what is distilled, and what the result is tested on."""

    name: str
    train: LabelledImages
    test: LabelledImages | None = None
