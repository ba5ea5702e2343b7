"""The small data set that travels with the package, for the demo and the tests (DIGITS.md says whose it is)."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

MAX_INK = 16  # a stored pixel counts the inked points of a 4 x 4 block

__all__ = ["load_digits"]


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Handwritten digits: images, float32 (1797, 1, 8, 8) in [0, 1], and labels, int64 (1797,) in 0..9.

    The images are in the order of the original file. Every pixel is a multiple of 1/16, so float32 is exact.

    >>> images, labels = load_digits()
    >>> images.shape, labels[:4].tolist()
    ((1797, 1, 8, 8), [0, 1, 2, 3])
    """
    with resources.files(__name__).joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images = arrays["images"].astype(np.float32) / np.float32(MAX_INK)
        labels = arrays["labels"].astype(np.int64)
    return images[:, None], labels  # (N, 1, 8, 8), (N,)
