"""Slices the published way, for the benchmarks of the training: one after the other, in plain torch layers.

Contexts are unfolded from 9 x 9 windows, grids are decoded one on top of the other; everything goes through autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import rducodec
from rducodec.entropy.context import CONTEXT_POSITIONS
from rducodec.training.parameters import SliceParameters, split_scales
from rducodec.training.rounding import LATENT_GAIN, noisy_soft_round

CONFIG = rducodec.LatentConfig(3, 32, 32, 6, 16, 4, (480,))
SLICES, SAMPLES = 10, 64
PROBABILITY_FLOOR = 2.0**-16


def smooth_images(rng: np.random.Generator) -> Tensor:
    """(slices, 3, samples, 32, 32): sums of a few random waves, in [0, 1]."""
    y, x = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0, 1, 32), indexing="ij")
    images = np.zeros((SLICES, 3, SAMPLES, 32, 32))
    for _ in range(6):
        shape = (SLICES, 3, SAMPLES, 1, 1)
        fy, fx, phase = rng.uniform(-6, 6, shape), rng.uniform(-6, 6, shape), rng.uniform(0, 6.28, shape)
        images += rng.normal(scale=0.1, size=shape) * np.cos(6.28 * (fy * y + fx * x) + phase)
    return torch.from_numpy((0.5 + images).clip(0, 1)).to(torch.float32)


@dataclass
class Rival:
    """One slice the published way."""

    grids: list[Tensor]  # (n, 1, h, w), finest first
    entropy: list[Tensor]
    upsampling: Tensor  # (1, 1, 8, 8)
    synthesis: list[Tensor]
    optimiser: torch.optim.Adam

    @classmethod
    def of(cls, parameters: SliceParameters, index: int, *, learning_rates: Sequence[float]) -> Rival:
        """A copy of one slice of `parameters`; rates of the latents and of each tensor of the networks."""

        def leaf(x: Tensor) -> Tensor:
            return x.detach().clone().requires_grad_()

        grids = [leaf(grid[index].unsqueeze(1)) for grid in split_scales(parameters.latents, CONFIG)]
        entropy = [leaf(x[index]) for x in parameters.entropy]
        upsampling = leaf(parameters.upsampling[index][None, None])
        synthesis = [leaf(x[index][..., None, None] if x.ndim == 3 else x[index]) for x in parameters.synthesis]
        parts = [grids, *([tensor] for tensor in (*entropy, upsampling, *synthesis))]
        groups = [{"params": part, "lr": rate} for part, rate in zip(parts, learning_rates, strict=True)]
        return cls(grids, entropy, upsampling, synthesis, torch.optim.Adam(groups))

    def bits_and_images(self, noise: list[Tensor], temperature: float) -> tuple[Tensor, Tensor]:
        """Bits of all latents, and images (n, c, h, w), with noise of each grid (n, 1, h, w) in place of rounding."""
        latents = [noisy_soft_round(LATENT_GAIN * g, u, temperature) for g, u in zip(self.grids, noise, strict=True)]
        return self._bits(latents), self._images(latents)

    def _bits(self, latents: list[Tensor]) -> Tensor:
        positions = list(CONTEXT_POSITIONS[CONFIG.context_size])
        unfolded = [F.unfold(F.pad(z, (4,) * 4), 9).transpose(1, 2)[:, :, positions] for z in latents]
        x = torch.cat([u.reshape(-1, CONFIG.context_size) for u in unfolded])
        values = torch.cat([z.reshape(-1) for z in latents])
        for weight, bias in zip(self.entropy[:-2:2], self.entropy[1:-2:2], strict=True):
            x = F.relu(F.linear(x, weight, bias) + x)
        mean, log_scale = F.linear(x, self.entropy[-2], self.entropy[-1]).unbind(1)
        b = torch.exp((log_scale - 4).clamp(-4.6, 5.0))

        def cdf(v: Tensor) -> Tensor:
            return 0.5 - 0.5 * torch.sign(v - mean) * torch.expm1(-(v - mean).abs() / b)

        return -torch.log2((cdf(values + 0.5) - cdf(values - 0.5)).clamp(min=PROBABILITY_FLOOR)).sum()

    def _images(self, latents: list[Tensor]) -> Tensor:
        x = latents[-1]
        for grid in reversed(latents[:-1]):
            n, c, h, w = x.shape
            padded = F.pad(x.reshape(n * c, 1, h, w), (4,) * 4, mode="replicate")
            finer = F.conv_transpose2d(padded, self.upsampling, stride=2)[:, :, 11:-11, 11:-11]
            x = torch.cat([grid, finer.reshape(n, c, 2 * h, 2 * w)], dim=1)
        pairs = list(zip(self.synthesis[::2], self.synthesis[1::2], strict=True))
        for index, (weight, bias) in enumerate(pairs[:-2]):
            x = F.conv2d(x, weight, bias)
            x = x if index == len(pairs) - 3 else F.relu(x)
        x = F.relu(F.conv2d(F.pad(x, (1,) * 4, mode="replicate"), *pairs[-2]) + x)
        return F.conv2d(F.pad(x, (1,) * 4, mode="replicate"), *pairs[-1]) + x
