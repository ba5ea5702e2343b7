"""Learned upsampling of latent grids, batched over slices (spec, "Upsampling").

Replicate-pad by 4, transposed convolution with stride 2, crop 11: an output pixel of one of the four phases
(even/odd row, even/odd column) sees 4 x 4 inputs, and all four phases of an input position share a 5 x 5 window.
So one matrix product of (4, 25) weights with shifted copies of the grid computes everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.model import UPSAMPLING_SIZE
from rducodec.training.shifts import gather_shifts, replicate_pad

WINDOW = 5  # inputs seen by the phases of one position, along each axis
PADDING = WINDOW // 2
NUM_PHASES = 4
BICUBIC_A = -0.75  # Keys' parameter of the cubic kernel, as published
_OFFSETS = tuple((y, x) for y in range(WINDOW) for x in range(WINDOW))

# Kernel tap seen by window position 0..4, for outputs 2j and 2j + 1; UPSAMPLING_SIZE stands for none.
_PHASE_TAPS = ((7, 5, 3, 1, UPSAMPLING_SIZE), (UPSAMPLING_SIZE, 6, 4, 2, 0))


def _tap_table() -> tuple[tuple[int, ...], ...]:
    """For each phase and window position, the flat index into the kernel padded with a zero row and column."""
    side = UPSAMPLING_SIZE + 1
    return tuple(
        tuple(ty * side + tx for ty in _PHASE_TAPS[py] for tx in _PHASE_TAPS[px]) for py in (0, 1) for px in (0, 1)
    )


@lru_cache(maxsize=8)
def _taps(device: torch.device) -> Tensor:
    """(phases, window positions), on a device: a copy in every step would make an accelerator wait."""
    with torch.inference_mode(False):
        return torch.tensor(_tap_table(), device=device)


def bicubic_kernel() -> np.ndarray:
    """float64 (8, 8): cubic interpolation to twice the size, gain 4 (a constant stays constant)."""
    distance = np.abs(np.arange(UPSAMPLING_SIZE) / 2 - (UPSAMPLING_SIZE - 1) / 4)
    near = ((BICUBIC_A + 2) * distance - (BICUBIC_A + 3)) * distance**2 + 1
    far = BICUBIC_A * (((distance - 5) * distance + 8) * distance - 4)
    taps = np.where(distance < 1, near, far)
    return np.outer(taps, taps)


def upsample(grids: Tensor, kernel: Tensor, *, height: int, width: int) -> Tensor:
    """Grids at twice their size, cut to (height, width).

    grids (S, g, h, w), kernel (S, 8, 8) -> (S, g, height, width), 2h - 1 <= height <= 2h and so for widths.
    """
    slices, num_grids, h, w = grids.shape
    padded = replicate_pad(grids, PADDING)
    windows = gather_shifts(padded, _OFFSETS, height=h, width=w).view(slices, WINDOW * WINDOW, -1)
    weights = F.pad(kernel, (0, 1, 0, 1)).flatten(1)[:, _taps(kernel.device)]  # (S, 4, 25)
    phases = torch.bmm(weights, windows).view(slices, 2, 2, num_grids, h, w)
    full = phases.permute(0, 3, 4, 1, 5, 2).reshape(slices, num_grids, 2 * h, 2 * w)
    return full[..., :height, :width]


def upsampled_stack(grids: Sequence[Tensor], kernel: Tensor, *, extra_rows: int = 0) -> Tensor:
    """All scales at full size, finest first, with a row of ones and rows of zeros after them.

    grids: (S, b, h_k, w_k) finest first; kernel (S, 8, 8) -> (S, scales + extra_rows, b, h_0, w_0), contiguous; the
    first extra row is one (it carries a bias), the others zero.
    """
    slices, batch = grids[0].shape[:2]
    stack = grids[-1]
    for grid in reversed(grids[:-1]):
        height, width = grid.shape[-2:]
        stack = torch.cat((grid, upsample(stack, kernel, height=height, width=width)), dim=1)
    height, width = stack.shape[-2:]
    stack = (
        stack.view(slices, len(grids), batch, height, width)
        if stack.is_contiguous()
        else stack.reshape(slices, len(grids), batch, height, width)
    )
    if not extra_rows:
        return stack
    extra = stack.new_zeros(slices, extra_rows, batch, height, width)
    extra[:, 0] = 1
    return torch.cat((stack, extra), dim=1)
