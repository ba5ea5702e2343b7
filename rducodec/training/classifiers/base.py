"""What all classifiers have in common: an embedding, a last linear layer, initial weights from a given generator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rducodec.errors import RddInputError

_NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)


class Classifier(nn.Module):
    """A network whose logits are a linear function, `classifier`, of its features."""

    classifier: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Embedding (N, F) of inputs (N, C, H, W), before the last linear layer."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of inputs (N, C, H, W)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class OwnStart(nn.Module):
    """A module with random state that is not the weight of a convolution or a linear layer."""

    def start(self, generator: torch.Generator) -> None:
        """Fill that state, of this module alone, with the next numbers of `generator`."""
        raise NotImplementedError


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Overwrite all weights: uniform in +-1 / sqrt(fan-in) as torch does by itself, scales 1 and shifts 0.

    That is Kaiming's uniform distribution with a = sqrt(5) for weights. The order is that of `network.modules()`.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, _NORMALISATIONS):
            module.reset_parameters()  # constants, also of the running statistics
        elif isinstance(module, OwnStart):
            module.start(generator)


def parameter_count(module: nn.Module) -> int:
    """Numbers in all parameters of a module.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in module.parameters())


def halvings(size: tuple[int, int]) -> int:
    """How often a map can be halved, rounding up, until its shorter side is one."""
    return math.ceil(math.log2(min(size)))


def first_padding(size: tuple[int, int], *, kernel: int, multiple: int) -> tuple[int, int]:
    """Padding of a first convolution that brings both sides to at least the next multiple.

    Later halvings then lose no row. At 28 x 28, a kernel of 3 and three halvings it is 3, as in the published code of
    dataset condensation (Zhao 2021): maps of 32 x 32.
    """
    height, width = (kernel // 2 + math.ceil(-side % multiple / 2) for side in size)
    return height, width


def normalisation(kind: str, width: int) -> nn.Module:
    """A layer of `kind` "instance" (affine), "batch" or "none" for `width` channels."""
    check_choice("norm", kind, ("instance", "batch", "none"))
    if kind == "instance":
        return nn.GroupNorm(width, width)
    return nn.BatchNorm2d(width) if kind == "batch" else nn.Identity()


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """RddInputError unless `value` is one of `choices`."""
    if value not in choices:
        raise RddInputError(f"network option {name}: {value!r}, expected one of {', '.join(choices)}")


def check_count(name: str, value: object) -> None:
    """RddInputError unless `value` is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RddInputError(f"network option {name}: {value!r}, expected a positive integer")
