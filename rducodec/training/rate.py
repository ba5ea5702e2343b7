"""Bits of latents under the entropy network, with the gradient computed on the way (paper, Eq. 11-13)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rducodec.entropy.context import COARSER_OFFSETS, WINDOW, context_offsets
from rducodec.training.pointwise import (
    Layer,
    backward_layers,
    column_blocks,
    forward_layers,
    layers_of,
    widest_rows,
    zeros_like_layers,
)
from rducodec.training.shifts import Offsets, copy_shifts, sum_shifts

REACH = WINDOW // 2  # of the neighbourhood, up, left and right
COARSER_REACH = 1  # of that in the next coarser grid, on all sides
LOG_SCALE_SHIFT = 4.0  # log b = s - 4: an untrained network means a narrow distribution
LOG_SCALE_MIN, LOG_SCALE_MAX = -4.6, 5.0
MAX_EXPONENT = 80.0  # far below the floor of P; denormal numbers, which come next, are 20 times slower
MIN_PROBABILITY = 2.0**-16  # floor of P in the published estimate


class _Contexts(torch.autograd.Function):
    """`own`, `coarser`: corners of windows in the padded grid, and in the padded and doubled next coarser one."""

    @staticmethod
    def forward(ctx: Any, own: Offsets, coarser: Offsets, *grids: Tensor) -> Tensor:
        ctx.own, ctx.coarser, ctx.shapes = own, coarser, [grid.shape for grid in grids]
        slices, inputs = grids[0].shape[0], len(own) + len(coarser)
        columns = sum(grid[0].numel() for grid in grids)
        out = grids[0].new_empty(slices, inputs, columns)
        start = 0
        for index, grid in enumerate(grids):
            stop = start + grid[0].numel()
            rows = out[:, :, start:stop].view(slices, inputs, *grid.shape[1:])
            padded = F.pad(grid, (REACH, REACH, REACH, 0))
            copy_shifts(rows[:, : len(own)], padded, own)
            start = stop
            if index == len(grids) - 1:
                rows[:, len(own) :].zero_()
            elif coarser:
                padded = F.pad(grids[index + 1], (COARSER_REACH,) * 4)
                doubled = padded.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
                copy_shifts(rows[:, len(own) :], doubled, coarser)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        grads, start = [grad_out.new_zeros(shape) for shape in ctx.shapes], 0
        for index, (slices, batch, height, width) in enumerate(ctx.shapes):
            stop = start + batch * height * width
            rows = grad_out[:, :, start:stop].view(slices, -1, batch, height, width)
            shape = torch.Size((slices, batch, height + REACH, width + 2 * REACH))
            padded = sum_shifts(rows[:, : len(ctx.own)], ctx.own, shape)
            grads[index] += padded[..., REACH:, REACH:-REACH]
            start = stop
            if ctx.coarser and index < len(grads) - 1:
                h, w = (side + 2 * COARSER_REACH for side in ctx.shapes[index + 1][-2:])
                shape = torch.Size((slices, batch, 2 * h, 2 * w))
                doubled = sum_shifts(rows[:, len(ctx.own) :], ctx.coarser, shape)
                sums = doubled.view(slices, batch, h, 2, w, 2).sum((3, 5))
                inside = slice(COARSER_REACH, -COARSER_REACH)
                grads[index + 1] += sums[..., inside, inside]
        return None, None, *grads


def gather_contexts(grids: Sequence[Tensor], *, context_size: int, coarser_size: int = 0) -> Tensor:
    """Causal neighbours of every latent, then latents of the next coarser grid, zero outside the grids.

    grids: (S, b, h_k, w_k) -> (S, context_size + coarser_size, columns); columns run over scale, sample, row, column.
    """
    own = tuple((REACH + dy, REACH + dx) for dy, dx in context_offsets(context_size))
    coarser = tuple((2 * (COARSER_REACH + dy), 2 * (COARSER_REACH + dx)) for dy, dx in COARSER_OFFSETS[coarser_size])
    return _Contexts.apply(own, coarser, *grids)  # type: ignore[no-untyped-call]


def _laplace_bits(distance: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bits of a unit interval around `distance` from the mean, and their derivatives by distance and log scale.

    With a = |distance|, e1 = exp(-|a - 1/2| / b), e2 = exp(-(a + 1/2) / b): P = (e1 - e2) / 2 where a >= 1/2, else
    1 - (e1 + e2) / 2. The derivatives have one form on both sides. Below the floor of P they are zero.
    """
    inverse = torch.exp(-log_scale)
    a = distance.abs()
    lower = (a - 0.5).mul_(inverse)
    upper = (a + 0.5).mul_(inverse)
    e1 = lower.abs().clamp_(max=MAX_EXPONENT).neg_().exp_()
    e2 = upper.clamp(max=MAX_EXPONENT).neg_().exp_()
    difference = e1 - e2
    probability = torch.where(lower >= 0, 0.5 * difference, 1 - 0.5 * (e1 + e2))
    floored = probability.clamp(min=MIN_PROBABILITY)
    bits = torch.log2(floored).neg_()
    factor = (probability > MIN_PROBABILITY).to(bits.dtype).div_(floored).mul_(0.5 / math.log(2))
    by_distance = difference.mul_(inverse).mul_(factor).mul_(distance.sign())
    by_log_scale = e2.mul_(upper).sub_(e1.mul_(lower)).mul_(factor)
    return bits, by_distance, by_log_scale


class _Bits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, contexts: Tensor, weight: Tensor, block_elements: int, *tensors: Tensor
    ) -> Tensor:
        layers = layers_of(tensors)
        needs_grad = any(ctx.needs_input_grad)
        grad_values, grad_contexts = torch.empty_like(values), torch.empty_like(contexts) if needs_grad else None
        totals = zeros_like_layers(layers)
        bits_of_slice = values.new_zeros(values.shape[0])
        for columns in column_blocks(values.shape[1], widest_rows(layers), block_elements=block_elements):
            activations = forward_layers(contexts[..., columns], layers)
            mean, raw_scale = activations[-1].unbind(1)
            log_scale = raw_scale - LOG_SCALE_SHIFT
            clamped = log_scale.clamp(LOG_SCALE_MIN, LOG_SCALE_MAX)
            bits, by_distance, by_scale = _laplace_bits(values[:, columns] - mean, clamped)
            mask = weight[:, columns]
            bits_of_slice += bits.mul_(mask).sum(1)
            if grad_contexts is None:
                continue
            by_distance.mul_(mask)
            by_scale.mul_(mask).mul_(clamped == log_scale)
            grad_values[:, columns] = by_distance
            grad = torch.stack((by_distance.neg_(), by_scale), dim=1)
            grad_contexts[..., columns] = backward_layers(activations, layers, grad, totals=totals)
        if needs_grad:
            grads = [g for total in totals for g in (total.weight, total.bias) if g is not None]
            ctx.save_for_backward(grad_values, grad_contexts, *grads)
        return bits_of_slice

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_bits: Tensor) -> tuple[Tensor | None, ...]:
        values, contexts, *grads = ctx.saved_tensors
        scaled = [g * grad_bits.view(-1, *(1,) * (g.dim() - 1)) for g in grads]
        return values * grad_bits[:, None], contexts * grad_bits[:, None, None], None, None, *scaled


def effective_layers(entropy: Sequence[Tensor]) -> list[Layer]:
    """Hidden layers with their residual connection as part of the weight: ReLU(Wx + b + x) = ReLU((W + I)x + b)."""
    layers = layers_of(entropy)
    hidden = []
    for layer in layers[:-1]:
        fan_out, fan_in = layer.weight.shape[1:]
        identity = torch.eye(fan_out, fan_in, dtype=layer.weight.dtype, device=layer.weight.device)
        hidden.append(Layer(layer.weight + identity, layer.bias))
    return [*hidden, layers[-1]]


def latent_bits(
    grids: Sequence[Tensor], entropy: Sequence[Tensor], *, weight: Tensor, block_elements: int, coarser_size: int = 0
) -> Tensor:
    """Bits of the latents of each slice, shape (S,); differentiable once.

    grids: (S, b, h_k, w_k) in integer units; entropy: weight, bias, ... with a leading S, as
    LatentConfig.entropy_shapes; weight (S, b): 1 for a sample that counts, 0 for padding.
    """
    contexts = gather_contexts(grids, context_size=entropy[0].shape[2] - coarser_size, coarser_size=coarser_size)
    values = torch.cat([grid.flatten(1) for grid in grids], dim=1)
    weights = torch.cat([weight[:, :, None].expand(-1, -1, grid[0, 0].numel()).flatten(1) for grid in grids], dim=1)
    bits = []
    for columns, layers in _layers_by_columns(grids, entropy):
        tensors = [t for layer in layers for t in (layer.weight, layer.bias)]
        inputs = values[:, columns], contexts[..., columns], weights[:, columns]
        bits.append(_Bits.apply(*inputs, block_elements, *tensors))  # type: ignore[no-untyped-call]
    return torch.stack(bits).sum(0)


def _layers_by_columns(grids: Sequence[Tensor], entropy: Sequence[Tensor]) -> list[tuple[slice, list[Layer]]]:
    """Ranges of columns with the network of each: one for all grids, or one a grid that differs in its last bias."""
    *hidden, last = effective_layers(entropy)
    biases = torch.split(entropy[-1], 2, dim=1)
    if len(biases) == 1:
        return [(slice(None), [*hidden, last])]
    ends = list(accumulate((grid[0].numel() for grid in grids), initial=0))
    return [
        (slice(begin, end), [*hidden, Layer(last.weight, bias)])
        for (begin, end), bias in zip(pairwise(ends), biases, strict=True)
    ]


@torch.no_grad()
def latent_bit_maps(grids: Sequence[Tensor], entropy: Sequence[Tensor], *, block_elements: int) -> list[Tensor]:
    """Bits of every single latent, in the shapes of `grids`; not differentiable.

    Of networks that see their own grid only, with one output bias for all grids.
    """
    contexts = gather_contexts(grids, context_size=entropy[0].shape[2])
    values = torch.cat([grid.flatten(1) for grid in grids], dim=1)
    layers = effective_layers(entropy)
    result = torch.empty_like(values)
    for columns in column_blocks(values.shape[1], widest_rows(layers), block_elements=block_elements):
        mean, raw_scale = forward_layers(contexts[..., columns], layers)[-1].unbind(1)
        log_scale = (raw_scale - LOG_SCALE_SHIFT).clamp(LOG_SCALE_MIN, LOG_SCALE_MAX)
        result[:, columns] = _laplace_bits(values[:, columns] - mean, log_scale)[0]
    parts = torch.split(result, [grid[0].numel() for grid in grids], dim=1)
    return [part.reshape(grid.shape) for part, grid in zip(parts, grids, strict=True)]
