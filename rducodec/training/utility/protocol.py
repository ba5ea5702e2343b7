"""What a utility loss is given and what it gives back; a loss of one's own needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rducodec.training.data.real import RealImages
from rducodec.training.group import ALONE, Group


@dataclass(frozen=True)
class UtilityContext:
    """What every loss is made from.

    A loss takes random numbers from `generator_for(context.seed, purpose, iteration)` alone, so that a training that
    is resumed continues bit for bit. With several processes each one takes its own real images, networks or experts,
    and what depends on them is averaged with `group.mean`: two processes do what one does with the doubled batch.
    """

    real: RealImages
    num_classes: int
    shape: tuple[int, int, int]  # channels, height, width of a sample
    network: str = "convnet"  # for rducodec.training.classifiers.build_classifier
    network_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = "color_crop_cutout_flip_scale_rotate"  # names of operations, or "none"
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mixed_precision: bool = False  # products of the networks in bfloat16
    compiled: bool = False  # networks go through torch.compile, where a loss can use that
    group: Group = ALONE


@dataclass(frozen=True)
class UtilityGradient:
    """The loss at some samples and its gradients there."""

    loss: float  # averaged over the processes
    samples: Tensor  # of the shape of the samples
    label_logits: Tensor | None = None  # of the shape of the logits of the labels, where these are learned


class Utility(Protocol):
    """A loss over all synthetic samples at once.

    `options` of a configuration become keyword arguments of the class; the first argument is the context.
    """

    def gradient(
        self, samples: Tensor, labels: Tensor, *, iteration: int, label_logits: Tensor | None = None
    ) -> UtilityGradient:
        """Loss and gradient at samples (N, C, H, W), float32, in the value space of the real images.

        labels (N,), int64, class after class. label_logits (N, K): logits of soft labels that are learned, or None
        for hard labels; their gradient comes back beside that of the samples.
        """

    def state(self) -> dict[str, Tensor]:
        """Tensors that change from iteration to iteration (networks between outer loops, a learned rate)."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`; a loss that continues from there continues bit for bit."""

    def recipe(self) -> dict[str, float]:
        """What a user of the samples should know to train on them, e.g. {"lr": 0.02}; goes into the file's recipe."""


@runtime_checkable
class HasSources(Protocol):
    """A loss some of whose options are paths."""

    def sources(self) -> dict[str, Any]:
        """In place of each such option, what identifies the contents: a run goes on with the same ones, wherever."""
