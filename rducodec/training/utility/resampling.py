"""Linear maps of the image plane with bilinear interpolation; gradients that are the same bits in every run."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

REACH = 1  # a sample takes part in at most (2 * REACH + 1)^2 results, see `resample`


def _centred(size: int, like: Tensor) -> Tensor:
    """Positions of pixels relative to the middle of their axis, (size,)."""
    return torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2


def _normalised(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps of (x, y) in pixels as `affine_grid` wants them, where each axis runs from -1 to 1; (n, 2, 3)."""
    sides = maps.new_tensor([width, height])
    return F.pad(maps * sides / sides[:, None], (0, 1))


class _Resample(torch.autograd.Function):
    """The backward pass of `grid_sample` adds up in any order on CUDA; this one gathers, in one order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor, inverses: Tensor) -> Tensor:
        ctx.save_for_backward(maps, inverses)
        grid = F.affine_grid(_normalised(maps, *x.shape[2:]), [len(maps), *x.shape[1:]], align_corners=False)
        grid = grid.expand(len(x), -1, -1, -1)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        maps, inverses = ctx.saved_tensors
        height, width = grad.shape[2:]
        x, y = _centred(width, grad), _centred(height, grad)[:, None]
        # The result nearest to where each sample went; those that it takes part in lie around that one.
        mapped_x, mapped_y = _mapped(inverses, x, y)
        column, row = (mapped_x + (width - 1) / 2).round(), (mapped_y + (height - 1) / 2).round()
        values, total = grad.flatten(2), torch.zeros_like(grad)
        dx = torch.arange(-REACH, REACH + 1, device=grad.device)[:, None, None]
        for dy in range(-REACH, REACH + 1):
            u, v = column[:, None] + dx, row[:, None] + dy  # (n, columns, h, w)
            inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            read_x, read_y = _mapped(maps[:, None], u - (width - 1) / 2, v - (height - 1) / 2)
            weight = inside * _tent(read_x - x) * _tent(read_y - y)
            index = (v.clamp(0, height - 1) * width + u.clamp(0, width - 1)).long().flatten(1)  # (n, columns * h * w)
            gathered = values.gather(2, index[:, None].expand(*values.shape[:2], -1))
            total += (gathered.view(*values.shape[:2], *weight.shape[1:]) * weight[:, None]).sum(2)
        return total, None, None


def _mapped(maps: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A (x, y), each (n, ..., h, w); maps (n, ..., 2, 2)."""
    a = maps[..., None, None]
    return a[..., 0, 0, :, :] * x + a[..., 0, 1, :, :] * y, a[..., 1, 0, :, :] * x + a[..., 1, 1, :, :] * y


def _tent(distance: Tensor) -> Tensor:
    """Weight of a neighbour in linear interpolation."""
    return (1 - distance.abs()).clamp_min(0)


def resample(x: Tensor, maps: Tensor) -> Tensor:
    """The image (N, C, H, W) read at A (x, y) instead of (x, y), pixels from the middle; zero outside.

    maps: A, (1 or N, 2, 2), which take (x, y) in this order; differentiable once with respect to the image. The rows
    of the inverse of A have absolute sums below 1.5: then no sample takes part in results further than `REACH` from
    the one nearest to it. Rotations up to 15 degrees (1.22) and scales from 1 / 1.4 are such maps.
    """
    return _Resample.apply(x, maps.to(x), torch.linalg.inv(maps).to(x))  # type: ignore[no-untyped-call]
