"""Distortion and rate of all slices, and the gradient of their weighted sum (paper, Eq. 22)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rducodec.model import LatentConfig
from rducodec.training.execution import Execution, Piece
from rducodec.training.parameters import SliceParameters, split_scales
from rducodec.training.rate import latent_bit_maps, latent_bits
from rducodec.training.rounding import LATENT_GAIN
from rducodec.training.synthesis import synthesise

Rounding = Callable[[Tensor, Piece], Tensor]  # scaled latents of a piece -> what the networks see
Distortion = Callable[[Tensor, Piece], Tensor]  # samples (s, c, b, h, w) of a piece -> sum over each slice, (s,)


def rounded(latents: Tensor, _: Piece) -> Tensor:
    """The integers that a file holds."""
    return latents.round()


@dataclass(frozen=True)
class Samples:
    """Real samples as training targets; slices with fewer samples than others are filled up with zeros."""

    values: Tensor  # (S, c, n, h, w)
    weight: Tensor  # (S, n): 1 for a sample, 0 for filling

    def select(self, index: Tensor) -> Samples:
        """Copies of the slices `index`, which may repeat."""
        return Samples(self.values.index_select(0, index), self.weight.index_select(0, index))

    def counts(self) -> Tensor:
        """Samples of each slice, (S,)."""
        return self.weight.sum(1)


@dataclass(frozen=True)
class Costs:
    """What slices cost, each of shape (S,)."""

    mse: Tensor  # mean squared error per value
    bits: Tensor  # of all latents of the slice


@dataclass(frozen=True)
class Objective:
    """MSE + lmbda * (latent bits per pixel) of every slice, for samples of one shape."""

    config: LatentConfig
    samples: Samples
    execution: Execution

    def pieces(self) -> list[Piece]:
        """How a step is cut."""
        num_slices, num_samples = self.samples.weight.shape
        return self.execution.pieces(num_slices, num_samples, pixels=self.config.height * self.config.width)

    def squared_error(self, images: Tensor, piece: Piece) -> Tensor:
        """To the real samples, summed over the values of each slice of a piece."""
        difference = images - self.samples.values[piece.slices, :, piece.samples]
        weight = self.samples.weight[piece.slices, piece.samples]
        return (difference.square() * weight[:, None, :, None, None]).flatten(1).sum(1)

    def _terms(
        self,
        latents: Tensor,
        networks: SliceParameters,
        piece: Piece,
        *,
        distortion: Distortion | None,
        rate: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Distortion and bits of each slice of a piece, from integer-valued latents."""
        block = self.execution.block_elements
        weight = self.samples.weight[piece.slices, piece.samples]
        grids = split_scales(latents, self.config)
        zero = latents.new_zeros(latents.shape[0])
        error, bits = zero, zero
        if distortion is not None:
            images = synthesise(grids, networks.upsampling, networks.synthesis, block_elements=block)
            error = distortion(images, piece)
        if rate:
            bits = latent_bits(grids, networks.entropy, weight=weight, block_elements=block)
        return error, bits

    def gradients(
        self,
        parameters: SliceParameters,
        *,
        rounding: Rounding,
        lmbda: float,
        train_networks: bool,
        distortion: Distortion | bool = True,
        rate: bool = True,
    ) -> tuple[Costs, list[Tensor]]:
        """Costs as training sees them, and gradients of the sum over slices of n * h * w * (MSE + lmbda * bpp).

        The factor is the number of pixels of a slice: gradients of latents then do not shrink with the size of the
        slice. `distortion` stands for the summed squared error where something else is to become small. A part that is
        not asked for is zero. Gradients come in the order of `parameters.tensors()`; without `train_networks` only the
        first.
        """
        measured = (self.squared_error if distortion else None) if isinstance(distortion, bool) else distortion
        grads = [torch.zeros_like(t) for t in parameters.tensors()[: None if train_networks else 1]]

        def run(_: int, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor, list[Tensor]]:
            own = [torch.zeros_like(t) for t in grads[1:]]
            errors, bits = (self.samples.weight.new_zeros(self.samples.weight.shape[0]) for _ in range(2))
            for piece in pieces:
                inputs = [parameters.latents[piece.slices, piece.samples], *parameters.networks()]
                inputs[1:] = [t[piece.slices] for t in inputs[1:]]
                inputs = [t.detach().requires_grad_(i < len(grads)) for i, t in enumerate(inputs)]
                with torch.enable_grad():
                    seen = rounding(inputs[0] * LATENT_GAIN, piece)
                    networks = parameters.with_tensors(inputs)
                    error, counted = self._terms(seen, networks, piece, distortion=measured, rate=rate)
                    loss = (error.sum() / self.config.channels) + lmbda * counted.sum()
                    first, *rest = torch.autograd.grad(loss, inputs[: len(grads)], materialize_grads=True)
                grads[0][piece.slices, piece.samples] = first
                for total, grad in zip(own, rest, strict=True):
                    total[piece.slices] += grad
                errors[piece.slices] += error.detach()
                bits[piece.slices] += counted.detach()
            return errors, bits, own

        results = self.execution.map(run, self.pieces())
        for _, _, own in results:
            for total, grad in zip(grads[1:], own, strict=True):
                total += grad
        return self._costs([r[0] for r in results], [r[1] for r in results]), grads

    @torch.no_grad()
    def evaluate(self, parameters: SliceParameters, *, distortion: bool = True, rate: bool = True) -> Costs:
        """Costs with rounded latents. A part that is not asked for is zero."""
        measured = self.squared_error if distortion else None

        def run(_: int, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
            errors, bits = (self.samples.weight.new_zeros(self.samples.weight.shape[0]) for _ in range(2))
            for piece in pieces:
                networks = parameters.with_tensors([t[piece.slices].detach() for t in parameters.tensors()])
                latents = (networks.latents[:, piece.samples] * LATENT_GAIN).round()
                with torch.no_grad():
                    error, rates = self._terms(latents, networks, piece, distortion=measured, rate=rate)
                errors[piece.slices] += error
                bits[piece.slices] += rates
            return errors, bits

        results = self.execution.map(run, self.pieces())
        return self._costs([r[0] for r in results], [r[1] for r in results])

    @torch.no_grad()
    def render(self, parameters: SliceParameters, *, rounding: Rounding = rounded) -> Tensor:
        """Decoded samples (S, c, n, h, w), from rounded latents, not clamped."""
        out = torch.empty_like(self.samples.values)

        def run(_: int, pieces: Sequence[Piece]) -> None:
            for piece in pieces:
                own = parameters.with_tensors([t[piece.slices].detach() for t in parameters.tensors()])
                with torch.no_grad():
                    grids = split_scales(rounding(own.latents[:, piece.samples] * LATENT_GAIN, piece), self.config)
                    out[piece.slices, :, piece.samples] = synthesise(
                        grids, own.upsampling, own.synthesis, block_elements=self.execution.block_elements
                    )

        self.execution.map(run, self.pieces())
        return out

    @torch.no_grad()
    def bit_map(self, parameters: SliceParameters) -> Tensor:
        """Bits of every rounded latent, (S, n, num_latents)."""
        out = torch.empty_like(parameters.latents)

        def run(_: int, pieces: Sequence[Piece]) -> None:
            for piece in pieces:
                own = parameters.with_tensors([t[piece.slices].detach() for t in parameters.tensors()])
                grids = split_scales((own.latents[:, piece.samples] * LATENT_GAIN).round(), self.config)
                maps = latent_bit_maps(grids, own.entropy, block_elements=self.execution.block_elements)
                out[piece.slices, piece.samples] = torch.cat([m.flatten(2) for m in maps], dim=2)

        self.execution.map(run, self.pieces())
        return out

    def _costs(self, errors: Sequence[Tensor], bits: Sequence[Tensor]) -> Costs:
        values = self.samples.counts() * (self.config.channels * self.config.height * self.config.width)
        return Costs(mse=torch.stack(list(errors)).sum(0) / values, bits=torch.stack(list(bits)).sum(0))
