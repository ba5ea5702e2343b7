"""Differentiable siamese augmentation (DSA, Zhao and Bilen 2021): one random operation a call, drawn beforehand.

Strengths are those of the published experiments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.utility.resampling import resample

NONE = "none"
BRIGHTNESS = 1.0  # range of what is added, around 0
SATURATION = 2.0  # largest factor; the smallest is 0
CONTRAST = 0.5  # smallest factor; the largest is 1 more
CROP = 0.125  # largest shift, of the side
CUTOUT = 0.5  # side of the square, of the side
FLIP = 0.5  # probability
SCALE = 1.2  # largest factor of an axis; the smallest is its inverse
ROTATION = math.radians(15)  # largest angle


@dataclass(frozen=True)
class Draw:
    """An operation and where in its range each sample is.

    The numbers do not depend on the size of images: one draw serves images of any size.
    """

    operation: str  # "none": nothing is changed
    parameters: Tensor  # float64 in 0 <= . < 1 on the CPU, (parameters of the operation, n), n = 1: for all samples


def _each(parameter: Tensor, x: Tensor) -> Tensor:
    """One number a sample as (n, 1, 1, 1) on the device of the samples."""
    return parameter.to(x)[:, None, None, None]


def _color(x: Tensor, parameters: Tensor) -> Tensor:
    """Brightness, saturation, contrast in turn."""
    brightness, saturation, contrast = (_each(p, x) for p in parameters)
    x = x + (brightness - 0.5) * BRIGHTNESS
    if x.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x = (x - grey) * (saturation * SATURATION) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + CONTRAST) + mean


def _below(uniform: Tensor, count: int) -> Tensor:
    """Integers 0..count-1, each as likely, from numbers in 0 <= . < 1."""
    return (uniform * count).long()


def _crop(x: Tensor, parameters: Tensor) -> Tensor:
    """Shifted by whole pixels, zero where nothing was."""
    height, width = x.shape[2:]
    reach = [int(side * CROP + 0.5) for side in (height, width)]
    rows, columns = (_below(p, 2 * r + 1).to(x.device) for p, r in zip(parameters, reach, strict=True))
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    index = (rows[:, None] + torch.arange(height, device=x.device))[:, None, :, None]
    padded = padded.gather(2, index.expand(len(x), x.shape[1], height, padded.shape[3]))
    index = (columns[:, None] + torch.arange(width, device=x.device))[:, None, None, :]
    return padded.gather(3, index.expand(x.shape))


def _cut(uniform: Tensor, side: int, x: Tensor) -> Tensor:
    """Which positions of an axis a square covers that is centred anywhere and clipped at the borders, (n, side)."""
    length = int(side * CUTOUT + 0.5)
    first = (_below(uniform, side + 1 - length % 2) - length // 2).to(x.device)[:, None]
    position = torch.arange(side, device=x.device)
    return (position >= first) & (position < first + length)


def _cutout(x: Tensor, parameters: Tensor) -> Tensor:
    rows, columns = (_cut(p, side, x) for p, side in zip(parameters, x.shape[2:], strict=True))
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _flip(x: Tensor, parameters: Tensor) -> Tensor:
    """Left and right exchanged, or not."""
    if parameters.shape[1] == 1:
        return x.flip(3) if bool(parameters < FLIP) else x
    return torch.where(_each(parameters[0], x) < FLIP, x.flip(3), x)


def _scale(x: Tensor, parameters: Tensor) -> Tensor:
    """Each axis by its own factor, around the middle."""
    factors = parameters * (SCALE - 1 / SCALE) + 1 / SCALE
    return resample(x, torch.diag_embed(factors.T))


def _rotate(x: Tensor, parameters: Tensor) -> Tensor:
    """Around the middle."""
    angle = (parameters[0] * 2 - 1) * ROTATION
    rows = [torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)]
    return resample(x, torch.stack(rows, 1))


_OPERATIONS: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {  # number of parameters, function
    "color": (3, _color),
    "crop": (2, _crop),
    "cutout": (2, _cutout),
    "flip": (1, _flip),
    "scale": (2, _scale),
    "rotate": (1, _rotate),
}


@dataclass(frozen=True)
class Augmentation:
    """Operations of which each call takes one at random, each as likely."""

    operations: tuple[str, ...]

    @classmethod
    def of(cls, names: str) -> Augmentation:
        """From names joined by underscores, as "color_crop_cutout_flip_scale_rotate", or "none".

        Raises RddInputError for a name that is unknown or given twice.
        """
        if names == NONE:
            return cls(())
        operations = tuple(names.split("_"))
        for name in operations:
            if name not in _OPERATIONS:
                allowed = ", ".join(_OPERATIONS)
                raise RddInputError(
                    f"augmentation {names!r}: unknown {name!r}, expected some of {allowed}, or {NONE!r}"
                )
        if len(set(operations)) < len(operations):
            raise RddInputError(f"augmentation {names!r}: an operation is named twice")
        return cls(operations)

    def draw(self, n: int, generator: torch.Generator, *, siamese: bool) -> Draw:
        """An operation and its parameters: one set for all samples if siamese, else one for each of n samples.

        A siamese draw serves any number of samples, so both sides of a matching loss.
        """
        if not self.operations:
            return Draw(NONE, torch.zeros(0, 1, dtype=torch.float64))
        chosen = int(torch.randint(len(self.operations), (), generator=generator))
        name = self.operations[chosen]
        count = 1 if siamese else n
        return Draw(name, torch.rand(_OPERATIONS[name][0], count, generator=generator, dtype=torch.float64))

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The operation on samples (N, C, H, W), floats; differentiable once.

        Raises RddInputError if the draw was made for each of another number of samples.
        """
        if draw.operation == NONE:
            return x
        if draw.parameters.shape[1] not in (1, len(x)):
            raise RddInputError(f"augmentation: a draw for {draw.parameters.shape[1]} samples, but there are {len(x)}")
        return _OPERATIONS[draw.operation][1](x, draw.parameters)
