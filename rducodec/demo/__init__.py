"""What `rdd demo` needs besides the codec: a split of the embedded digits, a picture.

Only `rducodec.demo.chain` needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rducodec.data import load_digits

NUM_CLASSES = 10
TEST_PER_CLASS = 50  # leaves 124 of the rarest digit to train on, and a test set on which one image is 0.2 %
MAX_TRAIN_PER_CLASS = 124

__all__ = ["MAX_TRAIN_PER_CLASS", "NUM_CLASSES", "TEST_PER_CLASS", "DigitSplit", "split_digits"]


@dataclass(frozen=True)
class DigitSplit:
    """Training and test digits, both ordered by class; samples float32 (N, 1, 8, 8) in [0, 1], labels int64 (N,)."""

    train_samples: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_samples: NDArray[np.float32]  # shares no image with train_samples
    test_labels: NDArray[np.int64]


def split_digits(per_class: int, seed: int) -> DigitSplit:
    """`per_class` training images of each digit, and `TEST_PER_CLASS` held-out ones.

    For one seed the test set is the same for every `per_class`, and a smaller training set is contained in a
    larger one, so that accuracies can be compared. The writers of the two sets are the same thirteen people.
    Raises ValueError where `per_class` is not in 1..`MAX_TRAIN_PER_CLASS`.

    >>> split = split_digits(32, seed=0)
    >>> split.train_samples.shape, split.test_samples.shape
    ((320, 1, 8, 8), (500, 1, 8, 8))
    """
    if not 1 <= per_class <= MAX_TRAIN_PER_CLASS:
        raise ValueError(f"per_class: {per_class}, expected 1..{MAX_TRAIN_PER_CLASS}")
    images, labels = load_digits()
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(NUM_CLASSES)]
    test = np.concatenate([rows[:TEST_PER_CLASS] for rows in shuffled])
    train = np.concatenate([rows[TEST_PER_CLASS : TEST_PER_CLASS + per_class] for rows in shuffled])
    return DigitSplit(images[train], labels[train], images[test], labels[test])
