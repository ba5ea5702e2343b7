"""Shifted copies of grids as rows of a matrix: the gather behind contexts, upsampling and 3x3 layers.

A convolution over slices with their own weights becomes one batched matrix product per layer, without a library
convolution per slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Offsets = Sequence[tuple[int, int]]  # (dy, dx) of the top left corner of each shifted window


class _ReplicatePad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        return F.pad(x, (size,) * 4, mode="replicate")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        for dim in (-2, -1):
            inner = grad.shape[dim] - 2 * ctx.size
            first, middle, last = torch.split(grad, [ctx.size, inner, ctx.size], dim)
            grad = middle.clone()
            grad.narrow(dim, 0, 1).add_(first.sum(dim, keepdim=True))
            grad.narrow(dim, inner - 1, 1).add_(last.sum(dim, keepdim=True))
        return grad, None


def replicate_pad(x: Tensor, size: int) -> Tensor:
    """Grids (S, grids, h, w) with `size` more rows and columns on each side, copies of the outermost ones.

    As torch's own, but for the gradient on CUDA: that one adds in no fixed order, and a training that is resumed would
    end in other bits. Differentiable once.
    """
    return _ReplicatePad.apply(x, size)  # type: ignore[no-untyped-call]


class _GatherShifts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, padded: Tensor, offsets: Offsets, height: int, width: int) -> Tensor:
        slices, grids = padded.shape[:2]
        ctx.padded_shape, ctx.offsets = padded.shape, offsets
        rows = padded.new_empty(slices, len(offsets), grids, height, width)
        for row, (y, x) in enumerate(offsets):
            rows[:, row].copy_(padded[..., y : y + height, x : x + width])
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor, None, None, None]:
        height, width = grad_rows.shape[-2:]
        grad = grad_rows.new_zeros(ctx.padded_shape)
        for row, (y, x) in enumerate(ctx.offsets):
            grad[..., y : y + height, x : x + width] += grad_rows[:, row]
        return grad, None, None, None


def gather_shifts(padded: Tensor, offsets: Offsets, *, height: int, width: int) -> Tensor:
    """`padded[..., y:y+height, x:x+width]` for each (y, x) of `offsets`; differentiable once.

    padded (S, grids, h, w) -> (S, len(offsets), grids, height, width).
    """
    return _GatherShifts.apply(padded, offsets, height, width)  # type: ignore[no-untyped-call]
