"""The trained tensors of many slices as one batch: every tensor has the slices as its first axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rducodec.model import NUM_SPATIAL_LAYERS, LatentConfig
from rducodec.training.rate import LOG_SCALE_SHIFT
from rducodec.training.upsampling import bicubic_kernel

LATENT_SIZE = 4.0  # typical magnitude of integer latents in a trained slice, for which the synthesis starts
OUTPUT_SHARE = 0.1  # of the usual initial size of the layer before the samples: the first image is nearly flat
ENTROPY_SHARE = 0.1  # of the usual initial size of the entropy network's layers; the residuals carry the input on


@dataclass(frozen=True)
class SliceParameters:
    """Floating-point latents and networks of S slices of up to n samples."""

    latents: Tensor  # (S, n, num_latents): z, scale by scale, row by row; the integer latent is round(16 z)
    entropy: tuple[Tensor, ...]  # (S, *shape) for each of LatentConfig.entropy_shapes
    upsampling: Tensor  # (S, 8, 8)
    synthesis: tuple[Tensor, ...]  # (S, *shape) for each of LatentConfig.synthesis_shapes

    def tensors(self) -> list[Tensor]:
        """All tensors: latents first, then networks in stream order."""
        return [self.latents, *self.networks()]

    def networks(self) -> list[Tensor]:
        """Network tensors in stream order: entropy network, upsampling kernel, synthesis."""
        return [*self.entropy, self.upsampling, *self.synthesis]

    def with_tensors(self, tensors: Sequence[Tensor]) -> SliceParameters:
        """The same structure over other tensors, in the order of `tensors()`."""
        split = 1 + len(self.entropy)
        return SliceParameters(tensors[0], tuple(tensors[1:split]), tensors[split], tuple(tensors[split + 1 :]))

    def select(self, index: Tensor) -> SliceParameters:
        """Copies of the slices `index`, which may repeat."""
        return self.with_tensors([t.index_select(0, index) for t in self.tensors()])


def split_scales(flat: Tensor, config: LatentConfig) -> list[Tensor]:
    """Views (S, b, h_k, w_k), finest first, of flat latents (S, b, num_latents)."""
    sizes = [h * w for h, w in config.grid_shapes()]
    return [
        part.view(*part.shape[:-1], *shape)
        for part, shape in zip(torch.split(flat, sizes, dim=-1), config.grid_shapes(), strict=True)
    ]


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def _entropy_tensors(config: LatentConfig, slices: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Near the identity in hidden layers; the initial scale b is about 1 whatever the context."""
    tensors = []
    for shape in config.entropy_shapes():
        if len(shape) == 2:
            tensors.append(_uniform((slices, *shape), ENTROPY_SHARE / math.sqrt(shape[1]), generator))
        else:
            tensors.append(torch.zeros(slices, *shape))
    tensors[-1][:, 1::2] = LOG_SCALE_SHIFT
    return tuple(tensors)


def initial_entropy(config: LatentConfig, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A random entropy network, (1, *shape) for each of LatentConfig.entropy_shapes; float32 on the CPU."""
    return _entropy_tensors(config, 1, generator)


def _synthesis_tensors(
    config: LatentConfig, slices: int, generator: torch.Generator, *, mean: Tensor, shift: Tensor
) -> tuple[Tensor, ...]:
    """1x1 layers random, 3x3 layers zero, so that only their residuals act.

    mean, shift: (S, c). The ReLU between the 3x3 layers would cut negative samples off: samples go through it
    shifted up, and the last bias takes the shift back.
    """
    tensors = []
    num_hidden = len(config.synthesis_widths)
    for index, shape in enumerate(config.synthesis_shapes()):
        layer = index // 2
        if len(shape) == 2:
            bound = 1 / math.sqrt(shape[1])
            bound *= OUTPUT_SHARE if layer == num_hidden else 1
            bound /= LATENT_SIZE if layer == 0 else 1
            tensors.append(_uniform((slices, *shape), bound, generator))
        elif len(shape) == 1 and layer < num_hidden:
            tensors.append(_uniform((slices, *shape), 1 / math.sqrt(config.num_scales), generator))
        else:
            tensors.append(torch.zeros(slices, *shape))
    tensors[2 * num_hidden + 1] += mean + shift
    tensors[-1] -= shift
    assert len(tensors) == 2 * (num_hidden + 1 + NUM_SPATIAL_LAYERS)
    return tuple(tensors)


def initial_parameters(
    config: LatentConfig, *, num_samples: int, mean: Tensor, shift: Tensor, generator: torch.Generator
) -> SliceParameters:
    """Random networks and zero latents for mean.shape[0] slices; float32 on the CPU.

    mean (S, c): of the samples of each slice. shift (S, c): at least minus their minimum, at least 0.
    """
    slices = mean.shape[0]
    kernel = torch.from_numpy(bicubic_kernel()).to(torch.float32)
    return SliceParameters(
        latents=torch.zeros(slices, num_samples, config.num_latents()),
        entropy=_entropy_tensors(config, slices, generator),
        upsampling=kernel.expand(slices, -1, -1).clone(),
        synthesis=_synthesis_tensors(config, slices, generator, mean=mean, shift=shift),
    )
