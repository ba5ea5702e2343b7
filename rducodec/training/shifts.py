"""Shifted copies of grids as rows of a matrix: the gather behind contexts, upsampling and 3x3 layers.

A convolution over slices with their own weights becomes one batched matrix product per layer, without a library
convolution per slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Offsets = Sequence[tuple[int, int]]  # (dy, dx) of the top left corner of each shifted window


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
