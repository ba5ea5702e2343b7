"""Floats in, integers out: quantisation steps of the networks and the integers of a slice (paper, Eq. 14-18)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor
from rducodec.training.objective import Objective, Samples
from rducodec.training.parameters import SliceParameters, split_scales
from rducodec.training.rate import MIN_PROBABILITY
from rducodec.training.rounding import LATENT_GAIN

MAX_ENTROPY_FRAC_BITS = 12  # of entropy weights: keeps the decoder's sums in 32 bits
MAX_BIAS_FRAC_BITS = 16
MAX_SYNTHESIS_FRAC_BITS = 15
SEARCH_PIXELS = 4096  # of a slice on which a step is tried; the choice is checked on all
BISECTIONS = 50  # of the Lagrange multiplier
SMALLEST_SHARE = 1e-2  # of the limit: bounds of a correction
MAX_RAISE = 2.0
VERIFICATIONS = 8  # corrections of the error budget after a check on all samples
INT16_MAX = 32767


def quantized(tensor: Tensor, frac_bits: Tensor) -> Tensor:
    """Real values (S, ...) rounded to multiples of 2**-frac_bits (S,)."""
    scale = torch.exp2(frac_bits.to(tensor.dtype)).view(-1, *(1,) * (tensor.dim() - 1))
    return (tensor * scale).round() / scale


def parameter_bits(tensor: Tensor, frac_bits: Tensor) -> Tensor:
    """Bits of each slice's tensor (S, ...) under a zero-mean discretised Laplace distribution, shape (S,).

    The better of two scales: std / sqrt(2) as published, and the mean magnitude.
    """
    values = tensor.flatten(1) * torch.exp2(frac_bits.to(tensor.dtype))[:, None]
    values = values.round().abs()
    scales = (values.square().mean(1).sqrt() / math.sqrt(2), values.mean(1))
    return torch.stack([_laplace_bits(values, scale) for scale in scales]).amin(0)


def _laplace_bits(magnitude: Tensor, scale: Tensor) -> Tensor:
    inverse = 1 / scale.clamp(min=1e-2)[:, None]
    zero = 1 - torch.exp(-0.5 * inverse)
    tail = 0.5 * (torch.exp(-(magnitude - 0.5) * inverse) - torch.exp(-(magnitude + 0.5) * inverse))
    return -torch.where(magnitude == 0, zero, tail).clamp(min=MIN_PROBABILITY).log2().sum(1)


def network_bits(parameters: SliceParameters, frac_bits: Tensor) -> Tensor:
    """Estimated bits of all network tensors of each slice, (S,); frac_bits (S, tensors)."""
    parts = [parameter_bits(t, frac_bits[:, i]) for i, t in enumerate(parameters.networks())]
    return torch.stack(parts).sum(0)


def with_networks(parameters: SliceParameters, frac_bits: Tensor) -> SliceParameters:
    """The same latents with quantised networks."""
    networks = [quantized(t, frac_bits[:, i]) for i, t in enumerate(parameters.networks())]
    return parameters.with_tensors([parameters.latents, *networks])


def _on_subset(objective: Objective, parameters: SliceParameters) -> tuple[Objective, SliceParameters]:
    pixels = objective.config.height * objective.config.width
    subset, index = objective.subset(max(1, SEARCH_PIXELS // pixels))
    return subset, replace(parameters, latents=parameters.latents.index_select(1, index))


def _trials(objective: Objective, parameters: SliceParameters, num_trials: int) -> tuple[Objective, SliceParameters]:
    """Every slice `num_trials` times in a row, so that as many candidates are evaluated in one batch."""
    slices = torch.arange(len(parameters.latents), device=parameters.latents.device)
    index = slices.repeat_interleave(num_trials)
    return replace(objective, samples=objective.samples.select(index)), parameters.select(index)


def entropy_steps(objective: Objective, parameters: SliceParameters) -> Tensor:
    """frac_bits (S, tensors) of the entropy network with the fewest bits of network and latents together.

    One step for all weights of a slice and one for all biases; the weights first, then the biases.
    """
    subset, own = _on_subset(objective, parameters)
    share = objective.samples.counts() / subset.samples.counts().clamp(min=1)

    def best(own: SliceParameters, parity: int, candidates: Tensor) -> Tensor:
        """Best of `candidates` (S, trials) for tensors 0, 2, ... or 1, 3, ... -> (S,)."""
        num_trials = candidates.shape[1]
        trials, repeated = _trials(subset, own, num_trials)
        tensors, bits = list(repeated.entropy), torch.zeros_like(share).repeat_interleave(num_trials)
        for i in range(parity, len(tensors), 2):
            bits += parameter_bits(tensors[i], candidates.flatten())
            tensors[i] = quantized(tensors[i], candidates.flatten())
        latents = trials.evaluate(replace(repeated, entropy=tuple(tensors)), distortion=False).bits
        cost = bits + latents * share.repeat_interleave(num_trials)
        return candidates.gather(1, cost.view(-1, num_trials).argmin(1, keepdim=True)).squeeze(1)

    slices, device = len(own.latents), share.device
    weights = best(own, 0, torch.arange(MAX_ENTROPY_FRAC_BITS + 1, device=device).expand(slices, -1))
    own = replace(own, entropy=tuple(quantized(t, weights) if i % 2 == 0 else t for i, t in enumerate(own.entropy)))
    limit = weights + objective.config.act_frac_bits  # the decoder shifts biases left
    candidates = torch.arange(MAX_BIAS_FRAC_BITS + 1, device=device).expand(slices, -1)
    biases = best(own, 1, torch.minimum(candidates, limit[:, None]))
    return torch.stack([weights, biases] * (len(own.entropy) // 2), dim=1)


def _decoder_tables(objective: Objective, parameters: SliceParameters) -> tuple[Tensor, Tensor]:
    """Error and bits (S, tensors, frac_bits) if one tensor of upsampling and synthesis alone is quantised."""
    subset, own = _on_subset(objective, parameters)
    reference = replace(subset, samples=Samples(subset.render(own), subset.samples.weight))
    num_trials = MAX_SYNTHESIS_FRAC_BITS + 1
    trials, repeated = _trials(reference, own, num_trials)
    frac_bits = torch.arange(num_trials, device=own.latents.device).repeat(len(own.latents))
    errors, bits = [], []
    for i in range(1 + len(own.entropy), len(own.tensors())):
        tensors = repeated.tensors()
        bits.append(parameter_bits(tensors[i], frac_bits).view(-1, num_trials))
        tensors[i] = quantized(tensors[i], frac_bits)
        errors.append(trials.evaluate(repeated.with_tensors(tensors), rate=False).mse.view(-1, num_trials))
    return torch.stack(errors, dim=1).double(), torch.stack(bits, dim=1).double()


def _cheapest(errors: Tensor, bits: Tensor, budget: Tensor) -> Tensor:
    """frac_bits (S, tensors) of few bits with the sum of errors within `budget` (S,), by a Lagrange multiplier."""
    low, high = torch.full_like(budget, -20.0), torch.full_like(budget, 120.0)  # log2 of bits per unit of error

    def choose(log_weight: Tensor) -> Tensor:
        return (bits + torch.exp2(log_weight)[:, None, None] * errors).argmin(2)

    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        total = errors.gather(2, choose(middle).unsqueeze(2)).sum((1, 2))
        low = torch.where(total > budget, middle, low)
        high = torch.where(total > budget, high, middle)
    return choose(high)


def decoder_steps(objective: Objective, parameters: SliceParameters, *, max_mse: float) -> Tensor:
    """frac_bits (S, tensors) of upsampling and synthesis: few bits, and an added error of at most `max_mse`.

    The errors of single tensors add up nearly; their sum is corrected by what is measured on all samples.
    Raises RddInputError if the finest steps are too coarse for `max_mse`.
    """
    errors, bits = _decoder_tables(objective, parameters)
    reference = replace(objective, samples=Samples(objective.render(parameters), objective.samples.weight))
    first = len(parameters.entropy)
    exact = torch.full((errors.shape[0], first), MAX_BIAS_FRAC_BITS, device=errors.device)

    def added_error(frac_bits: Tensor) -> Tensor:
        trial = with_networks(parameters, torch.cat((exact, frac_bits), dim=1))
        return reference.evaluate(trial, rate=False).mse.double()

    best = torch.full(errors.shape[:2], MAX_SYNTHESIS_FRAC_BITS, device=errors.device)
    finest = added_error(best)
    if bool((finest > max_mse).any()):
        worst = int(finest.argmax())
        raise RddInputError(
            f"slice {worst}: the finest network steps add a mean squared error of {float(finest[worst]):.3g}, "
            f"max_mse is {max_mse:.3g}"
        )
    best_bits = bits[..., -1].sum(1)
    budget, low, high = (torch.full_like(finest, value) for value in (max_mse, 0.0, max_mse / SMALLEST_SHARE))
    for _ in range(VERIFICATIONS):
        choice = _cheapest(errors, bits, budget)
        error = added_error(choice)
        total = bits.gather(2, choice.unsqueeze(2)).sum((1, 2))
        feasible = error <= max_mse
        better = feasible & (total < best_bits)
        best = torch.where(better[:, None], choice, best)
        best_bits = torch.where(better, total, best_bits)
        low, high = torch.where(feasible, budget, low), torch.where(feasible, high, budget)
        guess = budget * (max_mse / error.clamp(min=SMALLEST_SHARE * max_mse)).clamp(SMALLEST_SHARE, MAX_RAISE)
        budget = torch.where(
            (guess > low) & (guess < high), guess, (low.clamp(min=SMALLEST_SHARE * max_mse) * high).sqrt()
        )
    for tensor in torch.arange(errors.shape[1], device=errors.device).flip(0):
        choice = best.clone()
        choice[:, tensor] = (choice[:, tensor] - 1).clamp(min=0)
        total = bits.gather(2, choice.unsqueeze(2)).sum((1, 2))
        better = (added_error(choice) <= max_mse) & (total < best_bits)
        best = torch.where(better[:, None], choice, best)
        best_bits = torch.where(better, total, best_bits)
    return best


def choose_steps(objective: Objective, parameters: SliceParameters, *, max_mse: float) -> Tensor:
    """frac_bits (S, tensors), int64, of all network tensors in stream order."""
    return torch.cat(
        (entropy_steps(objective, parameters), decoder_steps(objective, parameters, max_mse=max_mse)), dim=1
    )


def export(
    parameters: SliceParameters, frac_bits: Tensor, *, config: LatentConfig, num_samples: list[int]
) -> list[LatentSlice]:
    """The integers of every slice. Raises RddInputError for latents that do not fit 16 bits."""
    latents = (parameters.latents.detach().cpu() * LATENT_GAIN).round()
    if bool((latents.abs() > INT16_MAX).any()):
        slice_index = int((latents.abs() > INT16_MAX).flatten(1).any(1).nonzero()[0])
        raise RddInputError(f"slice {slice_index}: a latent exceeds {INT16_MAX}; the training diverged")
    networks = [t.detach().cpu().double() for t in parameters.networks()]
    steps = frac_bits.cpu().tolist()
    num_entropy = len(parameters.entropy)
    slices = []
    for s, count in enumerate(num_samples):
        grids = tuple(
            np.ascontiguousarray(grid[0].numpy().astype(np.int16))
            for grid in split_scales(latents[s : s + 1, :count], config)
        )
        tensors = [
            QuantizedTensor((t[s] * 2.0 ** steps[s][i]).round().numpy().astype(np.int32), steps[s][i])
            for i, t in enumerate(networks)
        ]
        slices.append(
            LatentSlice(grids, tuple(tensors[:num_entropy]), tensors[num_entropy], tuple(tensors[num_entropy + 1 :]))
        )
    return slices
