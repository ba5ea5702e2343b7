"""Classifiers by name, with initial weights that follow from a generator alone."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from rducodec.errors import RddInputError
from rducodec.training.classifiers.alexnet import AlexNet
from rducodec.training.classifiers.base import Classifier, initialise
from rducodec.training.classifiers.convnet import ConvNet
from rducodec.training.classifiers.resnet import ResNet18
from rducodec.training.classifiers.timm_models import build_timm
from rducodec.training.classifiers.vgg import VGG11
from rducodec.training.classifiers.vit import VisionTransformer
from rducodec.training.randomness import generator_for

TIMM_PREFIX = "timm:"
_CLASSES: dict[str, type[Classifier]] = {
    "convnet": ConvNet,
    "alexnet": AlexNet,
    "vgg11": VGG11,
    "resnet18": ResNet18,
    "vit": VisionTransformer,
}
NAMES = tuple(_CLASSES)  # besides those of timm
_ARGUMENTS = {"channels", "num_classes", "size"}  # of every class, not options


def build_classifier(
    name: str,
    *,
    channels: int,
    num_classes: int,
    size: tuple[int, int],
    generator: torch.Generator | None = None,
    **options: Any,
) -> Classifier:
    """A new network on the CPU, in training mode, for inputs (N, channels, *size).

    `name` is one of `NAMES` or "timm:" and an entry point of timm. Initial weights come from `generator`, one on the
    CPU, so they are the same whatever device the network moves to; without one they are those of seed 0. The global
    generator is neither read nor changed. Raises RddInputError for a name or an option that there is not.

    >>> build_classifier("convnet", channels=3, num_classes=10, size=(32, 32)).classifier
    Linear(in_features=2048, out_features=10, bias=True)
    """
    _check_sizes(channels=channels, num_classes=num_classes, height=size[0], width=size[1])
    generator = generator_for(0, "classifier") if generator is None else generator
    if name.startswith(TIMM_PREFIX):
        entry = name.removeprefix(TIMM_PREFIX)
        return build_timm(
            entry, channels=channels, num_classes=num_classes, size=size, generator=generator, options=options
        )
    if name not in _CLASSES:
        raise RddInputError(f"network {name!r}: expected one of {', '.join(NAMES)}, or {TIMM_PREFIX}NAME")
    _check_options(name, options)
    with torch.device("meta"):  # torch's constructors would draw from the global generator
        network = _CLASSES[name](channels=channels, num_classes=num_classes, size=size, **options)
    network.to_empty(device="cpu")
    initialise(network, generator)
    return network


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise RddInputError(f"network input {name}: {value}, expected at least 1")


def _check_options(name: str, options: dict[str, Any]) -> None:
    known = sorted(inspect.signature(_CLASSES[name]).parameters.keys() - _ARGUMENTS)
    for option in options:
        if option not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise RddInputError(f"network {name}: no option {option!r}; {there}")
