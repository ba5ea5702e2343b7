"""What samples are worth: the test accuracy of classifiers that have seen nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.data.real import RealImages
from rducodec.training.evaluation.accuracy import Accuracy
from rducodec.training.evaluation.classify import Examples, Samples, Standardised, Task, mean_and_std
from rducodec.training.evaluation.protocols import Protocol

SAMPLE_DIMENSIONS = 4
SOFT_DIMENSIONS = 2
MAX_SUM_ERROR = 1e-2  # of the probabilities of a sample; soft labels are often kept with few digits
STANDARDISED_INPUT = "pixels, standardised by mean and std of each channel of the training samples"
PLAIN_INPUT = "values as they are"


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an evaluation is."""

    step: int  # of all networks together
    total_steps: int
    accuracies: tuple[float, ...]  # of the networks that are done


EvaluationCallback = Callable[[EvaluationProgress], object]


def evaluate(
    samples: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    test: RealImages,
    protocol: Protocol,
    *,
    num_networks: int = 5,
    seed: int = 0,
    device: torch.device | str | None = None,
    mixed_precision: bool = False,
    progress: EvaluationCallback | None = None,
) -> Accuracy:
    """Accuracy on `test` of `num_networks` classifiers trained on samples, each from its own weights and order.

    samples: floats (N, C, H, W) in the value space of `test`. labels: integers (N,), or probabilities (N, K) of the K
    classes of `test`. Pixels are standardised before a network sees them, by mean and standard deviation of each
    channel of the samples (of these alone: nothing of the real data beside the samples); other spaces are left as
    they are. `device` of None is where the test images are; the same machine, number of threads and seed give the
    same bits. `mixed_precision`: products in bfloat16. `progress` is called now and then and after each network; an
    exception in it ends the evaluation.

    Raises RddInputError for samples that are not finite, for labels or shapes that do not fit, and for a classifier
    that diverges.
    """
    place = torch.device(device) if device is not None else test.images.device
    train = _checked(samples, labels, test, place)
    return _accuracy(train, test, protocol, num_networks, seed, place, mixed_precision, progress)


def evaluate_real_images(
    train: RealImages,
    test: RealImages,
    protocol: Protocol,
    *,
    num_networks: int = 5,
    seed: int = 0,
    mixed_precision: bool = False,
    progress: EvaluationCallback | None = None,
) -> Accuracy:
    """As `evaluate`, trained on real images that stay as they were read: what all of the data is worth.

    `protocol.for_real_images()` is the protocol to use. Both sets must be in one value space, on one device.
    """
    if train.images.shape[1:] != test.images.shape[1:] or len(train.by_class) != len(test.by_class):
        found = f"{_shape(train.images)}, {len(train.by_class)} classes"
        raise RddInputError(f"training images: {found}, those to test on {_shape(test.images)}, {len(test.by_class)}")
    device = test.images.device
    return _accuracy(train, test, protocol, num_networks, seed, device, mixed_precision, progress)


def input_of(space_kind: str) -> str:
    """What networks see of samples in a value space of this kind, in words."""
    return STANDARDISED_INPUT if space_kind == "pixels" else PLAIN_INPUT


def _accuracy(
    train: Examples,
    test: RealImages,
    protocol: Protocol,
    num_networks: int,
    seed: int,
    device: torch.device,
    mixed_precision: bool,
    progress: EvaluationCallback | None,
) -> Accuracy:
    if num_networks < 1:
        raise RddInputError(f"networks: {num_networks}, expected at least 1")
    seen: Examples = _on(test, device)
    if test.space.space.kind == "pixels":
        mean, std = mean_and_std(train)
        train, seen = Standardised(train, mean, std), Standardised(seen, mean, std)
    channels, height, width = test.images.shape[1:]
    shape = (channels, height, width)
    task = Task(train, seen, shape, len(test.by_class), protocol, seed, device, mixed_precision)
    steps = protocol.num_steps(len(train))
    total, done = steps * num_networks, list[float]()

    def tell(step: int) -> None:
        if progress is not None:
            progress(EvaluationProgress(steps * len(done) + step, total, tuple(done)))

    for number in range(num_networks):
        done.append(task.accuracy(number, tell))
        tell(0)
    return Accuracy(tuple(done))


def _on(images: RealImages, device: torch.device) -> RealImages:
    if images.images.device == device:
        return images
    return RealImages(images.images.to(device), images.labels.to(device), images.by_class, images.space)


def _checked(
    samples: ArrayLike | Tensor, labels: ArrayLike | Tensor, test: RealImages, device: torch.device
) -> Samples:
    values = _tensor(samples)
    if values.ndim != SAMPLE_DIMENSIONS or not len(values):
        raise RddInputError(f"samples: shape {tuple(values.shape)}, expected (samples, channels, height, width)")
    if values.shape[1:] != test.images.shape[1:]:
        raise RddInputError(
            f"samples: {_shape(values)} (channels x height x width), but the test images are {_shape(test.images)}"
        )
    values = values.to(device, torch.float32)
    wrong = ~values.isfinite()
    if wrong.any():
        where = wrong.nonzero()[0].tolist()
        raise RddInputError(f"samples: the value at {where} is {values[tuple(where)].item()}, expected finite ones")
    return Samples(values, _checked_labels(_tensor(labels), len(values), len(test.by_class)).to(device))


def _checked_labels(labels: Tensor, num_samples: int, num_classes: int) -> Tensor:
    """int64 (N,), or float32 (N, K)."""
    if not labels.ndim or len(labels) != num_samples:
        raise RddInputError(f"labels: shape {tuple(labels.shape)}, expected one for each of {num_samples} samples")
    if labels.ndim == SOFT_DIMENSIONS and labels.is_floating_point():
        return _checked_probabilities(labels.float(), num_classes)
    if labels.ndim != 1 or labels.is_floating_point():
        raise RddInputError(
            f"labels: shape {tuple(labels.shape)} of {labels.dtype}, expected integers (N,) or probabilities (N, K)"
        )
    labels = labels.long()
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        index = int(wrong[0])
        raise RddInputError(f"labels: label {index} is {int(labels[index])}, expected 0..{num_classes - 1}")
    return labels


def _checked_probabilities(labels: Tensor, num_classes: int) -> Tensor:
    if labels.shape[1] != num_classes:
        raise RddInputError(
            f"labels: {labels.shape[1]} probabilities a sample, the test images have {num_classes} classes"
        )
    sums = labels.sum(1)
    wrong = (~((sums - 1).abs() <= MAX_SUM_ERROR) | (labels < 0).any(1)).nonzero()
    if len(wrong):
        index = int(wrong[0])
        raise RddInputError(
            f"labels: those of sample {index} are {labels[index].min().item():.4g} or more and sum to "
            f"{sums[index].item():.4g}, expected probabilities"
        )
    return labels


def _tensor(values: ArrayLike | Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))


def _shape(images: Tensor) -> str:
    return " x ".join(map(str, images.shape[1:]))
