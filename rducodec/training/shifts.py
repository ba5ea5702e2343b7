"""Shifted copies of grids as rows of a matrix: the gather behind contexts, upsampling and 3x3 layers.

A convolution over slices with their own weights becomes one batched matrix product per layer, without a library
convolution per slice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Offsets = tuple[tuple[int, int], ...]  # distinct (dy, dx) of the top left corner of each shifted window


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


@lru_cache(maxsize=64)
def _places(offsets: Offsets, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of the offsets, on a device."""
    with torch.inference_mode(False):  # whoever asks first: later ones may need gradients
        rows, columns = torch.tensor(offsets, device=device).T
        return rows, columns


def copy_shifts(rows: Tensor, padded: Tensor, offsets: Offsets) -> None:
    """Fill rows (S, len(offsets), grids, height, width) with `padded[..., y:y+height, x:x+width]`.

    A copy each on a CPU, where it is fastest; one for all on an accelerator, which would wait for their launches.
    """
    (_copy_each if rows.device.type == "cpu" else _copy_at_once)(rows, padded, offsets)


def sum_shifts(rows: Tensor, offsets: Offsets, padded_shape: torch.Size) -> Tensor:
    """The transpose of `copy_shifts`: each of the rows added where it came from, in a fixed order."""
    return (_sum_each if rows.device.type == "cpu" else _sum_at_once)(rows, offsets, padded_shape)


def _copy_each(rows: Tensor, padded: Tensor, offsets: Offsets) -> None:
    height, width = rows.shape[-2:]
    for row, (y, x) in enumerate(offsets):
        rows[:, row].copy_(padded[..., y : y + height, x : x + width])


def _copy_at_once(rows: Tensor, padded: Tensor, offsets: Offsets) -> None:
    height, width = rows.shape[-2:]
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (S, grids, Y, X, height, width)
    y, x = _places(offsets, rows.device)
    rows.copy_(windows.movedim(1, 3)[:, y, x])


def _sum_each(rows: Tensor, offsets: Offsets, padded_shape: torch.Size) -> Tensor:
    height, width = rows.shape[-2:]
    total = rows.new_zeros(padded_shape)
    for row, (y, x) in enumerate(offsets):
        total[..., y : y + height, x : x + width] += rows[:, row]
    return total


def _sum_at_once(rows: Tensor, offsets: Offsets, padded_shape: torch.Size) -> Tensor:
    slices, grids, *size = padded_shape
    reach = [padded - own + 1 for padded, own in zip(size, rows.shape[-2:], strict=True)]
    windows = rows.new_zeros(slices, *reach, *rows.shape[2:])
    y, x = _places(offsets, rows.device)
    windows[:, y, x] = rows
    columns = windows.movedim(3, 1).reshape(slices * grids, reach[0] * reach[1], -1)
    return F.fold(columns, tuple(size), tuple(reach)).view(padded_shape)


class _GatherShifts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, padded: Tensor, offsets: Offsets, height: int, width: int) -> Tensor:
        slices, grids = padded.shape[:2]
        ctx.padded_shape, ctx.offsets = padded.shape, offsets
        rows = padded.new_empty(slices, len(offsets), grids, height, width)
        copy_shifts(rows, padded, offsets)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor, None, None, None]:
        return sum_shifts(grad_rows, ctx.offsets, ctx.padded_shape), None, None, None


def gather_shifts(padded: Tensor, offsets: Offsets, *, height: int, width: int) -> Tensor:
    """`padded[..., y:y+height, x:x+width]` for each (y, x) of `offsets`; differentiable once.

    padded (S, grids, h, w) -> (S, len(offsets), grids, height, width).
    """
    return _GatherShifts.apply(padded, offsets, height, width)  # type: ignore[no-untyped-call]
