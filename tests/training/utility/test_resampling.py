"""Bilinear resampling against torch's own, both ways."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.training.utility.resampling import resample


def _maps(n: int) -> Tensor:
    """Scales and rotations up to the ends of what is allowed."""
    generator = torch.Generator().manual_seed(n)
    angle = (torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1) * math.radians(15)
    rows = [torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)]
    turned = torch.stack(rows, 1)
    turned[::2] = torch.diag_embed(torch.rand(n, 2, generator=generator, dtype=torch.float64) * 0.5 + 0.75)[::2]
    return turned


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (8, 8), (9, 14)])
@pytest.mark.parametrize("shared", [False, True])
def test_values_and_gradients_equal_those_of_torch(size: tuple[int, int], shared: bool) -> None:
    height, width = size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, *size, generator=generator, dtype=torch.float64).requires_grad_()
    maps = _maps(6)[: 1 if shared else 6]
    theta = torch.zeros(6, 2, 3, dtype=torch.float64)
    theta[:, :, :2] = maps * torch.tensor([[1, height / width], [width / height, 1]])
    expected = F.grid_sample(x, F.affine_grid(theta, [6, 2, *size], align_corners=False), align_corners=False)
    result = resample(x, maps)
    torch.testing.assert_close(result, expected)
    weight = torch.randn(result.shape, generator=generator, dtype=torch.float64)
    (grad,), (grad_expected,) = (torch.autograd.grad((y * weight).sum(), x) for y in (result, expected))
    torch.testing.assert_close(grad, grad_expected)


def test_the_identity_changes_nothing() -> None:
    x = torch.randn(2, 1, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(resample(x, torch.eye(2)[None]), x)
