"""Training sets and protocols of tests: seconds together."""

from __future__ import annotations

import numpy as np
import torch

from rducodec.training.data import LabelledImages, RealImages, SampleSpace, pixel_space
from rducodec.training.evaluation.protocols import Protocol

QUICK = Protocol(
    "quick",
    network_options={"width": 8, "depth": 2},
    epochs=10,
    batch_size=16,
    optimiser="adam",
    learning_rate=1e-2,
    weight_decay=0.0,
    schedule="cosine",
    augmentation="none",
    num_threads=1,
    full_epochs=2,
)


def bars(count: int, *, seed: int = 0, shape: tuple[int, int, int] = (1, 8, 8)) -> LabelledImages:
    """8-bit images of three classes: a bright row on top, in the middle or at the bottom, under noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, *shape)).astype(np.uint8)
    labels = np.arange(count) % 3
    images[np.arange(count), :, labels * (shape[1] // 2 - 1)] += 100
    return LabelledImages(images, labels, ("top", "middle", "bottom"))


def real(data: LabelledImages, space: SampleSpace | None = None) -> RealImages:
    """On the CPU."""
    return RealImages.of(data, space or pixel_space(data.shape[0]), torch.device("cpu"))
