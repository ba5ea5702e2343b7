"""Latents to samples in floating point, batched over slices (spec, "Synthesis")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.model import NUM_SPATIAL_LAYERS, SPATIAL_SIZE
from rducodec.training.pointwise import Layer, pointwise
from rducodec.training.shifts import gather_shifts, replicate_pad
from rducodec.training.upsampling import upsampled_stack

INPUT_TILE = 8  # rows of the stack are filled up to a multiple of this: odd row counts slow the products down
_OFFSETS = tuple((y, x) for y in range(SPATIAL_SIZE) for x in range(SPATIAL_SIZE))


def _spatial(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution with residual and replicated borders; x (S, c, b, h, w), weight (S, c, c, 3, 3)."""
    slices, channels, batch, height, width = x.shape
    padded = replicate_pad(x.reshape(slices, channels * batch, height, width), SPATIAL_SIZE // 2)
    rows = gather_shifts(padded, _OFFSETS, height=height, width=width)  # (S, 9, c * b, h, w)
    matrix = weight.flatten(3).permute(0, 1, 3, 2).reshape(slices, channels, -1)  # (S, c, 9 * c)
    flat = torch.baddbmm(bias.unsqueeze(-1), matrix, rows.view(slices, matrix.shape[2], -1))
    return flat.view_as(x) + x


def synthesise(grids: Sequence[Tensor], kernel: Tensor, synthesis: Sequence[Tensor], *, block_elements: int) -> Tensor:
    """Samples of all slices, not clamped.

    grids: integer-valued latents (S, b, h_k, w_k) finest first; kernel (S, 8, 8); synthesis: weight, bias, ... with a
    leading S, as LatentConfig.synthesis_shapes -> (S, c, b, h_0, w_0).
    """
    num_scales = len(grids)
    extra_rows = INPUT_TILE - num_scales % INPUT_TILE
    stack = upsampled_stack(grids, kernel, extra_rows=extra_rows)
    num_pointwise = len(synthesis) // 2 - NUM_SPATIAL_LAYERS
    first = torch.cat((synthesis[0], synthesis[1].unsqueeze(-1)), dim=2)  # the row of ones carries the bias
    layers = [Layer(F.pad(first, (0, extra_rows - 1)), None)]
    layers += [Layer(synthesis[2 * i], synthesis[2 * i + 1]) for i in range(1, num_pointwise)]
    x = pointwise(stack.flatten(2), layers, block_elements=block_elements)
    x = x.view(x.shape[0], -1, *stack.shape[2:])
    weight, bias, last_weight, last_bias = synthesis[-2 * NUM_SPATIAL_LAYERS :]
    return _spatial(_spatial(x, weight, bias).relu(), last_weight, last_bias)
