"""Differentiable stand-ins for rounding, and the noise that goes with them (as in C3)."""

from __future__ import annotations

import torch
from torch import Tensor

LATENT_GAIN = 16.0  # an integer latent is round(16 z), z the trained value ("encoder gain")


def soft_round(x: Tensor, temperature: float) -> Tensor:
    """Rounding that is exact for integers and half-integers and smooth between; the identity for large T."""
    base = torch.floor(x)
    scale = 0.5 / torch.tanh(torch.tensor(0.5 / temperature)).item()
    return torch.tanh((x - base - 0.5) / temperature) * scale + (base + 0.5)


def kumaraswamy_noise(uniform: Tensor, shape: float) -> Tensor:
    """Noise in [-1/2, 1/2] with mode 0 from uniform numbers; `shape` 1 is uniform, larger is narrower (C3)."""
    other = (2.0**shape * (shape - 1) + 1) / shape
    return (1 - (1 - uniform).pow(1 / other)).pow(1 / shape) - 0.5


def noisy_soft_round(x: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """soft_round(soft_round(x) + noise): what the decoder sees in training instead of round(x)."""
    return soft_round(soft_round(x, temperature) + noise, temperature)


def straight_through_round(x: Tensor) -> Tensor:
    """round(x), with the gradient of x."""
    return x + (x.detach().round() - x.detach())
