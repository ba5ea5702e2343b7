"""Samples as latents and tiny networks (paper, Section 3): all slices in one batch, started from a file's integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rducodec.model import LatentConfig, LatentSlice
from rducodec.training.adam import Adam
from rducodec.training.distillation.configuration import ROUNDINGS
from rducodec.training.distillation.representation import RateEstimate, Step
from rducodec.training.execution import Execution, Piece
from rducodec.training.export import coded_bits, coded_latent_bits, export, network_bits, quantize_networks
from rducodec.training.objective import Objective, Rounding, Samples
from rducodec.training.parameters import SliceParameters
from rducodec.training.randomness import generator_for
from rducodec.training.rounding import LATENT_GAIN, noisy_soft_round, straight_through_round
from rducodec.training.schedule import NOISE_DEVIATIONS, TEMPERATURES, rate_shares

AVERAGED_SHARE = 0.05  # of all steps: after so many, a step counts 1 / e of the latest in the mean


def _parameters_of(slices: Sequence[LatentSlice], config: LatentConfig) -> SliceParameters:
    """Float tensors that stand for the same integers; slices with fewer samples are filled up with zeros."""
    most = max(part.num_samples for part in slices)
    latents = torch.zeros(len(slices), most, config.num_latents())
    for row, part in zip(latents, slices, strict=True):
        flat = np.concatenate([grid.reshape(part.num_samples, -1) for grid in part.latents], axis=1)
        row[: part.num_samples] = torch.from_numpy(flat.astype(np.float32)) / LATENT_GAIN
    stacks = zip(*([tensor.dequantize() for tensor in part.tensors()] for part in slices), strict=True)
    tensors = [torch.from_numpy(np.stack(values).astype(np.float32)) for values in stacks]
    cut = len(config.entropy_shapes())
    return SliceParameters(latents, tuple(tensors[:cut]), tensors[cut], tuple(tensors[cut + 1 :]))


class LatentRepresentation:
    """Latents and networks of slices, trained jointly.

    `rounding` stands for rounding: "soft" (soft rounding with Gaussian noise, both falling over the optimisation
    as in the initialisation), or "straight-through" (the decoded samples themselves, the gradient passed on). Utility
    gradients are noisy: straight through, latents dither around the ends of their intervals and take twice the bits.
    """

    def __init__(
        self,
        slices: Sequence[LatentSlice],
        config: LatentConfig,
        *,
        device: torch.device,
        max_mse: float,
        rounding: str = ROUNDINGS[0],
        seed: int = 0,
    ) -> None:
        """max_mse: of the quantisation of networks, at which their size is estimated in between."""
        self.config, self.device, self.rounding, self.seed = config, device, rounding, seed
        self.max_mse = max_mse
        self.num_samples = [part.num_samples for part in slices]
        parameters = _parameters_of(slices, config)
        self.parameters = parameters.with_tensors([t.to(device) for t in parameters.tensors()])
        self.adam = Adam.for_tensors(self.parameters.tensors())
        self._average = [t.clone() for t in self.parameters.tensors()]  # see `count`
        weight = torch.zeros(len(slices), max(self.num_samples))
        for row, count in zip(weight, self.num_samples, strict=True):
            row[:count] = 1
        self._present = weight.bool().to(device)  # (S, n)
        shape = (len(slices), config.channels, weight.shape[1], config.height, config.width)
        empty = torch.zeros((), device=device).expand(shape)  # no targets: the utility takes their place
        self.objective = Objective(config, Samples(empty, weight.to(device)), Execution.for_device(device))
        self.count(networks=True)

    @property
    def total(self) -> int:
        """Samples of all slices."""
        return sum(self.num_samples)

    def with_targets(self, parameters: SliceParameters | None = None) -> Objective:
        """The objective with these samples, or those of other parameters, as targets for what may change."""
        values = self.objective.render(parameters or self.parameters)
        return replace(self.objective, samples=Samples(values, self.objective.samples.weight))

    def _plain_network_bits(self) -> float:
        return float(network_bits(self.parameters, self.frac_bits).sum())

    def _rounding(self, step: Step) -> Rounding:
        if self.rounding == ROUNDINGS[1]:
            return lambda latents, _: straight_through_round(latents)
        temperature, level = (
            first + (last - first) * step.position for first, last in (TEMPERATURES, NOISE_DEVIATIONS)
        )
        generator = generator_for(self.seed, "rounding noise", step.iteration, device=self.device)
        noise = torch.randn(self.parameters.latents.shape, generator=generator, device=self.device).mul_(level)
        return lambda latents, piece: noisy_soft_round(latents, noise[piece.slices, piece.samples], temperature)

    def samples(self, step: Step) -> Tensor:
        """The samples of this step, (N, C, H, W), slice after slice."""
        return self._flat(self.objective.render(self.parameters, rounding=self._rounding(step)))

    def decoded(self, parameters: SliceParameters | None = None) -> Tensor:
        """The samples with rounded latents and the networks as they are, of these or of other parameters."""
        return self._flat(self.objective.render(parameters or self.parameters))

    def _flat(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2)[self._present]  # (S, c, n, h, w) -> (N, c, h, w)

    def gradients(self, step: Step, grad_samples: Tensor) -> tuple[RateEstimate, list[Tensor]]:
        """Bits of a file of the recent parameters; gradients of bits + weight * utility at the noise of this step."""
        slices, channels, most = self.objective.samples.values.shape[:3]
        upstream = grad_samples.new_zeros(slices, most, channels, self.config.height, self.config.width)
        upstream[self._present] = grad_samples * (step.num_pixels_weight * channels)  # the objective divides by these
        upstream = upstream.transpose(1, 2)

        def utility(images: Tensor, piece: Piece) -> Tensor:
            return (images * upstream[piece.slices, :, piece.samples]).flatten(1).sum(1)

        _, grads = self.objective.gradients(
            self.parameters, rounding=self._rounding(step), lmbda=1.0, train_networks=True, distortion=utility
        )
        bits = self.objective.evaluate(self.parameters, distortion=False).bits
        return RateEstimate(max(0.0, float(bits.sum()) + self._more_latents), self.network_bits()), grads

    def network_bits(self) -> float:
        """Estimate for all slices."""
        return max(0.0, self._plain_network_bits() + self._more_networks)

    def count(self, *, networks: bool) -> None:
        """Correct the estimates by what a file of the mean parameters takes, in which the latest steps count most.

        The mean, because latents and entropy networks that follow a noisy gradient cost bits that they lose as the
        learning rate falls. What is counted is by the tables of readers. With `networks`, the steps of these are
        searched anew: that takes as long as many iterations.
        """
        average, samples = self.parameters.with_tensors(self._average), self.num_samples
        if networks:
            quantized, self.frac_bits = quantize_networks(self.with_targets(average), average, max_mse=self.max_mse)
            slices = export(quantized, self.frac_bits, config=self.config, num_samples=samples)
            of_networks, of_latents = coded_bits(slices, self.config)
            self._more_networks = of_networks - self._plain_network_bits()
        else:
            of_latents = coded_latent_bits(average, self.config, samples)
        self._more_latents = of_latents - float(self.objective.evaluate(self.parameters, distortion=False).bits.sum())

    def move(self, step: Step, grads: list[Tensor]) -> None:
        """Adam, networks at their shares of the rate."""
        rates = [step.learning_rate * share for share in rate_shares(self.config)]
        self.adam.step(self.parameters.tensors(), grads, learning_rates=rates)
        horizon = AVERAGED_SHARE * step.iteration / step.position if step.position else 1.0
        weight = 1 / max(1.0, min(step.iteration + 1, horizon))
        torch._foreach_lerp_(self._average, self.parameters.tensors(), weight)

    def state(self) -> dict[str, Tensor]:
        """Parameters, their moments and means, and what corrects the estimates."""
        named = {"parameter": self.parameters.tensors(), "average": self._average}
        tensors = {f"{name}.{i}": t for name, tensors in named.items() for i, t in enumerate(tensors)}
        numbers = {"more_latents": self._more_latents, "more_networks": self._more_networks}
        tensors |= {name: torch.tensor(number, dtype=torch.float64) for name, number in numbers.items()}
        return tensors | self.adam.state() | {"frac_bits": self.frac_bits}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        count = len(self.parameters.tensors())
        tensors, self._average = (
            [state[f"{name}.{i}"].to(self.device) for i in range(count)] for name in ("parameter", "average")
        )
        self.parameters = self.parameters.with_tensors(tensors)
        self.adam = Adam.of_state(state, device=self.device)
        self.frac_bits = state["frac_bits"].to(self.device)
        self._more_latents, self._more_networks = float(state["more_latents"]), float(state["more_networks"])
