"""A tiny training of experts that all tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rducodec.training.data.real import RealImages
from rducodec.training.data.space import pixel_space
from rducodec.training.experts import ExpertSettings, train_experts
from rducodec.training.randomness import generator_for

SHAPE, NUM_CLASSES, NUM_IMAGES = (1, 4, 4), 3, 11


def images(seed: int = 0, count: int = NUM_IMAGES) -> RealImages:
    """Random images whose label shows in their brightness."""
    labels = torch.arange(count) % NUM_CLASSES
    noise = torch.rand(count, *SHAPE, generator=generator_for(seed, "images"))
    by_class = tuple(torch.nonzero(labels == k)[:, 0] for k in range(NUM_CLASSES))
    return RealImages(noise + labels[:, None, None, None], labels, by_class, pixel_space(SHAPE[0]))


def settings(**changes: Any) -> ExpertSettings:
    """Five experts in groups of two, three epochs of three batches."""
    tiny: dict[str, Any] = {
        "num_experts": 5,
        "epochs": 3,
        "batch_size": 4,
        "batched": 2,
        "network_options": {"width": 3, "depth": 1},
        "learning_rate": 0.1,
    }
    return ExpertSettings(**{**tiny, **changes})


def train(folder: Path, chosen: ExpertSettings | None = None, **changes: Any) -> None:
    """Train into `folder`."""
    arguments = {"num_classes": NUM_CLASSES, "shape": SHAPE, "device": torch.device("cpu"), **changes}
    train_experts(arguments.pop("real", images()), settings=chosen or settings(), folder=folder, **arguments)
