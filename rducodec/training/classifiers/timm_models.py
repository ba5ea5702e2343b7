"""Networks of the package timm, by the names of its entry points."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rducodec.errors import RddInputError, RddVersionError
from rducodec.training.classifiers.base import Classifier, initialise
from rducodec.training.classifiers.dropout import Draws


class TimmClassifier(Classifier):
    """An entry point of timm without its last layer, and a linear layer; never pretrained.

    timm draws initial weights, and what it drops in training, from the global generator. Here it does so from a seed of
    this network, and the global generator is put back after.
    """

    def __init__(self, body: nn.Module, draws: Draws, *, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.draws = draws
        self.classifier = nn.Linear(num_features, num_classes)

    def features(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.body(x).flatten(1)
        with _seeded(self.draws, x.device):
            return self.body(x).flatten(1)


@contextmanager
def _seeded(draws: Draws, device: torch.device) -> Iterator[None]:
    """Inside, the global generators of the CPU and of `device` start from the next draw."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(draws.next().initial_seed())
        yield


def build_timm(
    name: str,
    *,
    channels: int,
    num_classes: int,
    size: tuple[int, int],
    generator: torch.Generator,
    options: dict[str, Any],
) -> TimmClassifier:
    """The entry point `name` of timm; `options` are its own, e.g. img_size of a transformer.

    Raises RddVersionError where timm is missing, RddInputError for a name or an option that timm does not know.
    """
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another torch
        message = f"network timm:{name}: needs the package timm (pip install timm), and its torchvision; {error}"
        raise RddVersionError(message) from error
    if not timm.is_model(name):
        raise RddInputError(f"network timm:{name}: timm {timm.__version__} has no such entry point (timm.list_models)")
    draws = Draws()
    draws.start(generator)
    with torch.device("cpu"), _seeded(draws, torch.device("cpu")):
        try:
            body = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **options)
            body.eval()
            with torch.no_grad():
                num_features = body(torch.zeros(1, channels, *size)).flatten(1).shape[1]
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:  # what timm's constructors raise
            raise RddInputError(f"network timm:{name} for {size[0]} x {size[1]} inputs: {error}") from error
        network = TimmClassifier(body.train(), draws, num_features=num_features, num_classes=num_classes)
    initialise(network.classifier, generator)
    return network
