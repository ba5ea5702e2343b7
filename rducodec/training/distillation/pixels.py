"""Samples as plain pixels: what the losses are worth without a compressing representation."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rducodec.training.adam import Adam
from rducodec.training.distillation.representation import RateEstimate, Step

FLOAT_BITS = 32


class PixelRepresentation:
    """Every value of every sample is trained by itself; bits do not depend on the values."""

    def __init__(self, samples: Tensor, *, bits_per_value: int = FLOAT_BITS) -> None:
        self.values = samples.clone()
        self.adam = Adam.for_tensors([self.values])
        self._rate = RateEstimate(float(bits_per_value * samples.numel()), 0.0)

    def samples(self, _: Step) -> Tensor:
        """The values."""
        return self.values.clone()

    def decoded(self) -> Tensor:
        """The values."""
        return self.values.clone()

    def gradients(self, _: Step, grad_samples: Tensor) -> tuple[RateEstimate, list[Tensor]]:
        """The utility's own gradient: there is nothing to weigh against it."""
        return self._rate, [grad_samples]

    def count(self, *, networks: bool) -> None:
        """The bits are known."""

    def move(self, step: Step, grads: list[Tensor]) -> None:
        """Adam."""
        self.adam.step([self.values], grads, learning_rates=[step.learning_rate])

    def state(self) -> dict[str, Tensor]:
        """Values and moments."""
        return {"values": self.values} | self.adam.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        device = self.values.device
        self.values = state["values"].to(device)
        self.adam = Adam.of_state(state, device=device)
