"""Floats in, integers out: quantisation steps of the networks and the integers of a slice (paper, Eq. 14-18)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.entropy.known import KnownLatents
from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, LatentSlice
from rducodec.quantization import FloatSlice, quantize, quantized_entropies
from rducodec.quantization.rounding import rounded
from rducodec.training.objective import Objective
from rducodec.training.parameters import SliceParameters, split_scales
from rducodec.training.rate import MIN_PROBABILITY
from rducodec.training.rounding import LATENT_GAIN
from rducodec.units import sorted_units
from rducodec.weights import best_codes, information_bits, sorted_bits

INT16_MAX = 32767
CODER_BITS = 48  # that the end of a payload takes over its information, at most
THRESHOLD_STEP = 4.0  # between errors of the networks that are tried in turn: a bit of precision
MAX_COARSER = 4  # beyond those asked for


def network_bits(parameters: SliceParameters, frac_bits: Tensor) -> Tensor:
    """Estimated bits of all network tensors of each slice, (S,); frac_bits (S, tensors).

    Each tensor under a zero-mean discretised Laplace distribution with the better of two scales: std / sqrt(2) as
    published, and the mean magnitude.
    """
    return tensor_bits(parameters.networks(), frac_bits).sum(1)


def tensor_bits(tensors: Sequence[Tensor], frac_bits: Tensor) -> Tensor:
    """The same for each of some tensors (S, ...) by itself, (S, tensors); all at once, for the sake of accelerators."""
    sizes = tuple(tensor[0].numel() for tensor in tensors)
    owner, members = _members(sizes, tensors[0].device, tensors[0].dtype)
    steps = torch.exp2(frac_bits.to(tensors[0].dtype))[:, owner]
    values = (torch.cat([tensor.flatten(1) for tensor in tensors], dim=1) * steps).round().abs()
    mean, square = ((each @ members) / members.sum(0) for each in (values, values.square()))
    scales = torch.stack((square.sqrt() / math.sqrt(2), mean))  # (2, S, tensors)
    return (_laplace_bits(values, scales[..., owner]) @ members).amin(0)


@lru_cache(maxsize=8)
def _members(sizes: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The tensor that each of all parameters belongs to, (parameters,), and the same as 0 and 1, with tensors."""
    with torch.inference_mode(False):
        owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(device)
        return owner, F.one_hot(owner, len(sizes)).to(dtype)


def _laplace_bits(magnitude: Tensor, scale: Tensor) -> Tensor:
    inverse = 1 / scale.clamp(min=1e-2)
    zero = 1 - torch.exp(-0.5 * inverse)
    tail = 0.5 * (torch.exp(-(magnitude - 0.5) * inverse) - torch.exp(-(magnitude + 0.5) * inverse))
    return -torch.where(magnitude == 0, zero, tail).clamp(min=MIN_PROBABILITY).log2()


def choose_steps(objective: Objective, parameters: SliceParameters, *, max_mse: float) -> Tensor:
    """frac_bits (S, tensors), int64, of all network tensors in stream order, for plain rounding.

    Raises RddInputError if the finest steps are too coarse for `max_mse`.
    """
    return _frac_bits(_quantized(objective, parameters, max_mse, compensate=False), parameters)


def quantize_networks(
    objective: Objective, parameters: SliceParameters, *, max_mse: float
) -> tuple[SliceParameters, Tensor]:
    """The same latents with networks that are multiples of steps, and the frac_bits (S, tensors) of these.

    Raises RddInputError if the finest steps are too coarse for `max_mse`.
    """
    slices = _quantized(objective, parameters, max_mse, compensate=True)
    tensors = zip(*([tensor.dequantize() for tensor in part.tensors()] for part in slices), strict=True)
    networks = [torch.as_tensor(np.stack(values)).to(parameters.latents) for values in tensors]
    return parameters.with_tensors([parameters.latents, *networks]), _frac_bits(slices, parameters)


def _quantized(
    objective: Objective, parameters: SliceParameters, max_mse: float, *, compensate: bool
) -> list[LatentSlice]:
    counts = [round(count) for count in objective.samples.counts().tolist()]
    slices = float_slices(parameters, objective.config, counts)
    return quantize(slices, objective.config, max_mse=max_mse, compensate=compensate)


def _frac_bits(slices: Sequence[LatentSlice], parameters: SliceParameters) -> Tensor:
    steps = [[tensor.frac_bits for tensor in part.tensors()] for part in slices]
    return torch.tensor(steps, device=parameters.latents.device)


def float_slices(parameters: SliceParameters, config: LatentConfig, num_samples: list[int]) -> list[FloatSlice]:
    """Every slice with its latents as integers. Raises RddInputError for latents that do not fit 16 bits."""
    latents = (parameters.latents.detach().cpu() * LATENT_GAIN).round()
    if bool((latents.abs() > INT16_MAX).any()):
        slice_index = int((latents.abs() > INT16_MAX).flatten(1).any(1).nonzero()[0])
        raise RddInputError(f"slice {slice_index}: a latent exceeds {INT16_MAX}; the training diverged")
    networks = [t.detach().cpu().double().numpy() for t in parameters.networks()]
    num_entropy = len(parameters.entropy)
    slices = []
    for s, count in enumerate(num_samples):
        grids = tuple(
            np.ascontiguousarray(grid[0].numpy().astype(np.int16))
            for grid in split_scales(latents[s : s + 1, :count], config)
        )
        own = tuple(tensor[s] for tensor in networks)
        slices.append(FloatSlice(grids, own[:num_entropy], own[num_entropy], own[num_entropy + 1 :]))
    return slices


def coarser(threshold: float) -> list[float]:
    """Larger errors by which networks may be quantised where they are too large otherwise, in turn."""
    return [threshold * THRESHOLD_STEP**count for count in range(1, MAX_COARSER + 1)]


def coded_bits(slices: Sequence[LatentSlice], config: LatentConfig) -> tuple[float, float]:
    """(networks, latents): bits of slices by the tables that readers use, and what the range coder may add.

    Each slice stores its own networks, with its hidden units sorted where that is cheaper.
    """
    networks, latents = sorted_bits([sorted_units(part) for part in slices], config)[1], 0.0
    for part in slices:
        networks += float(information_bits(part.entropy, best_codes(part.entropy)).sum())
        latents += KnownLatents.of(part.latents, config).information(part.entropy) + CODER_BITS
    return networks, latents


def coded_latent_bits(parameters: SliceParameters, config: LatentConfig, num_samples: list[int]) -> float:
    """The same of the latents alone, under entropy networks that are quantised for them; soon done."""

    slices = float_slices(parameters, config, num_samples)
    networks = quantized_entropies(slices, config)
    return sum(
        KnownLatents.of(part.latents, config).information(network) + CODER_BITS
        for part, network in zip(slices, networks, strict=True)
    )


def export(
    parameters: SliceParameters, frac_bits: Tensor, *, config: LatentConfig, num_samples: list[int]
) -> list[LatentSlice]:
    """The integers of every slice. Raises RddInputError for latents that do not fit 16 bits."""
    slices = []
    for part, steps in zip(float_slices(parameters, config, num_samples), frac_bits.tolist(), strict=True):
        tensors = [rounded(tensor, step) for tensor, step in zip(part.networks(), steps, strict=True)]
        cut = len(part.entropy)
        slices.append(LatentSlice(part.latents, tuple(tensors[:cut]), tensors[cut], tuple(tensors[cut + 1 :])))
    return slices
