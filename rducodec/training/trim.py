"""The last percents on the way to a target size: single integer latents move by one.

Gradients reach a target only slowly, and say little about what a whole step of a latent costs in the contexts of its
neighbours. So latents that do not share a context move together, each to the side where the bits fall, the bits of all
are counted again, and the moves stay that save bits for a small error. The change of the error is linear plus the
curvature, which is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.entropy.context import context_offsets
from rducodec.model import LatentConfig
from rducodec.training.execution import Piece
from rducodec.training.export import coded_bits, export
from rducodec.training.objective import Distortion, Objective
from rducodec.training.parameters import SliceParameters, split_scales
from rducodec.training.rounding import LATENT_GAIN, straight_through_round

MAX_SWEEPS = 16  # over all latents
PRICE_STEP = 1.5  # change of the error accepted for a bit, from sweep to sweep
START_SHARE = 0.5  # of the price that seems to be enough: dearer moves only where no cheaper ones are left
MOST_OF_A_SWEEP = 0.5  # of the bits that moves can save, for that price
PROBES = 16  # for the curvature
# Of the curvature; the rest is the latent's own. Of many noisy ones the lowest are chosen: 2 % of the bits of digits
# cost 1.0 dB by its own alone, 2.3 by the mean alone and 0.7 half and half (benchmarks/trim.py).
MEAN_SHARE = 0.5


def _curvatures(objective: Objective, parameters: SliceParameters, *, generator: torch.Generator) -> Tensor:
    """Second derivatives of the error by the integers, (S, n, num_latents), for a synthesis that is linear near them.

    The error is the squared one of all values / channels. The diagonal of the Gauss-Newton matrix by Hutchinson's
    estimate: random signs instead of the error of each value.
    """
    values, config = objective.samples.values, objective.config
    result = torch.zeros_like(parameters.latents)
    for _ in range(PROBES):
        signs = torch.randint(0, 2, values.shape, generator=generator, device=values.device, dtype=torch.int8) * 2 - 1

        def projection(images: Tensor, piece: Piece, signs: Tensor = signs) -> Tensor:
            return (images * signs[piece.slices, :, piece.samples]).flatten(1).sum(1)

        result += (_gradient(objective, parameters, projection, lmbda=0.0) * config.channels).square()
    result *= 2 / (config.channels * PROBES) * objective.samples.weight[:, :, None]
    start = 0
    for size in _sizes(config):
        own = result[..., start : start + size]
        mean = own.sum() / (objective.samples.weight.sum() * size)
        own.mul_(1 - MEAN_SHARE).add_(MEAN_SHARE * mean)
        start += size
    return result


def _gradient(
    objective: Objective, parameters: SliceParameters, distortion: Distortion | bool, *, lmbda: float
) -> Tensor:
    """Of distortion / channels + lmbda * bits by the integers, at the rounded latents."""
    _, (grad,) = objective.gradients(
        parameters,
        rounding=lambda x, _: straight_through_round(x),
        lmbda=lmbda,
        train_networks=False,
        distortion=distortion,
        rate=lmbda > 0,
    )
    return grad / LATENT_GAIN


def _sizes(config: LatentConfig) -> list[int]:
    return [h * w for h, w in config.grid_shapes()]


@dataclass(frozen=True)
class _Lattice:
    """Latents of all scales at a distance at which no other latent has two of them in reach."""

    rows: int  # a latent is in the contexts of the rows 0 .. rows - 1 from its own on
    reach: int  # and of so many columns to both sides

    @classmethod
    def of_context(cls, context_size: int) -> _Lattice:
        offsets = context_offsets(context_size)
        return cls(1 + max(-dy for dy, _ in offsets), max(abs(dx) for _, dx in offsets))

    def masks(self, config: LatentConfig, device: torch.device) -> Iterator[Tensor]:
        """Every latent is in one of these, bool (num_latents,)."""
        columns = 2 * self.reach + 1
        for y in range(self.rows):
            for x in range(columns):
                parts = []
                for h, w in config.grid_shapes():
                    part = torch.zeros(h, w, dtype=torch.bool, device=device)
                    part[y :: self.rows, x::columns] = True
                    parts.append(part.flatten())
                if any(bool(part.any()) for part in parts):
                    yield torch.cat(parts)

    def gathered(self, change: Tensor, config: LatentConfig) -> Tensor:
        """Sum of a map of changes (S, n, num_latents) over all latents that a latent has an influence on."""
        columns = 2 * self.reach + 1
        parts = []
        for grid in split_scales(change, config):
            padded = F.pad(grid, (self.reach, self.reach, 0, self.rows - 1))
            window = F.avg_pool2d(padded, (self.rows, columns), stride=1)
            parts.append(window.flatten(2) * (self.rows * columns))
        return torch.cat(parts, dim=2)


def trimmed_to(
    objective: Objective,
    parameters: SliceParameters,
    frac_bits: Tensor,
    *,
    num_samples: list[int],
    target_bits: float,
    lmbda: float,
    generator: torch.Generator,
) -> SliceParameters | None:
    """Parameters whose integers take at most `target_bits`, networks included, by the count of what is written.

    frac_bits (S, tensors): steps of the networks. None where the latents cannot become small enough.
    """

    def coded(candidate: SliceParameters) -> tuple[float, float]:
        slices = export(candidate, frac_bits, config=objective.config, num_samples=num_samples)
        return coded_bits(slices, objective.config)

    networks, latent_bits = coded(parameters)
    budget = target_bits - networks
    allowed = budget  # by the estimate of the training, which is a little less than what is coded
    while latent_bits > budget:
        latents = trimmed_latents(objective, parameters, max_bits=allowed, lmbda=lmbda, generator=generator)
        if latents is None:
            return None
        parameters = replace(parameters, latents=latents)
        _, latent_bits = coded(parameters)
        allowed -= max(latent_bits - budget, 1.0)
    return parameters


def trimmed_latents(
    objective: Objective, parameters: SliceParameters, *, max_bits: float, lmbda: float, generator: torch.Generator
) -> Tensor | None:
    """Latents (S, n, num_latents) of all slices with at most `max_bits` together.

    `lmbda`: least price of a bit where the search starts, 0 if nothing is known. The result holds integers divided by
    the gain. None if so few bits are not reached.
    """
    own = replace(parameters, latents=(parameters.latents * LATENT_GAIN).round() / LATENT_GAIN)
    bits = _bit_map(objective, own)
    if float(bits.sum()) <= max_bits:
        return own.latents
    if max_bits <= 0:
        return None
    lattice = _Lattice.of_context(objective.config.context_size)
    masks = list(lattice.masks(objective.config, own.latents.device))
    curvature = _curvatures(objective, own, generator=generator)
    price = lmbda
    for _ in range(MAX_SWEEPS):
        for index, mask in enumerate(masks):
            excess = float(bits.sum()) - max_bits
            moves = _moves(objective, own, bits, mask, lattice, curvature)
            if index == 0:
                price = max(price, START_SHARE * moves.price_for(excess / len(masks)))
            change = moves.direction * moves.chosen(price, excess) / LATENT_GAIN
            own = replace(own, latents=own.latents + change)
            bits = _bit_map(objective, own)
            if float(bits.sum()) <= max_bits:
                return own.latents
        price *= PRICE_STEP
    return None


def _bit_map(objective: Objective, parameters: SliceParameters) -> Tensor:
    return objective.bit_map(parameters) * objective.samples.weight[:, :, None]


@dataclass(frozen=True)
class _Moves:
    """Latents that may move by one, each (S, n, num_latents)."""

    direction: Tensor  # -1, 0, 1
    rise: Tensor  # of the summed squared error / channels
    saved: Tensor  # bits, its own and those of latents that see it

    def _ranked(self) -> tuple[Tensor, Tensor]:
        """Error per saved bit of every move, infinite where none is possible; and the order, cheapest first; flat."""
        possible = (self.direction != 0) & (self.saved > 0)
        cost = torch.where(possible, self.rise / self.saved, torch.inf).flatten()
        return cost, cost.argsort(stable=True)

    def price_for(self, num_bits: float) -> float:
        """The price at which moves save so many bits, or half of what they can; 0 if they lower the error besides."""
        cost, order = self._ranked()
        possible = cost[order].isfinite()
        if not bool(possible.any()):
            return 0.0
        total = torch.where(possible, self.saved.flatten()[order], 0).cumsum(0)
        wanted = min(num_bits, MOST_OF_A_SWEEP * float(total[-1]))
        return max(0.0, float(cost[order][int((total < wanted).sum())]))

    def chosen(self, price: float, excess: float) -> Tensor:
        """Moves that are worth it at this price, bool; of these the cheapest, no more than save the excess."""
        cost, order = self._ranked()
        worth = cost < price
        saved = torch.where(worth, self.saved.flatten(), 0)[order]
        needed = saved.cumsum(0) - saved < excess
        result = torch.zeros_like(worth)
        result[order] = needed
        return (result & worth).view_as(self.direction)


def _moves(
    objective: Objective, parameters: SliceParameters, bits: Tensor, mask: Tensor, lattice: _Lattice, curvature: Tensor
) -> _Moves:
    """What becomes of error and bits if latents of `mask` move."""
    error_grad = _gradient(objective, parameters, True, lmbda=0.0)
    bits_grad = _gradient(objective, parameters, False, lmbda=1.0)
    direction = -bits_grad.sign() * mask
    trial = replace(parameters, latents=parameters.latents + direction / LATENT_GAIN)
    saved = lattice.gathered(bits - _bit_map(objective, trial), objective.config)
    return _Moves(direction, direction * error_grad + 0.5 * curvature, saved)
