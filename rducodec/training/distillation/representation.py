"""What is optimised in place of samples: latents and networks, or plain pixels; behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """What one iteration does to a representation."""

    iteration: int  # from 0; noise follows from it
    position: float  # 0..1 in the whole optimisation
    learning_rate: float
    num_pixels_weight: float  # lambda times the pixels of all samples: weight of the utility loss against bits (Eq. 20)


@dataclass(frozen=True)
class RateEstimate:
    """Bits that a file would take; of plain pixels, one of float32."""

    latents: float  # of all samples
    networks: float


class Representation(Protocol):
    """Samples (N, C, H, W), class after class, as a function of trained tensors."""

    def samples(self, step: Step) -> Tensor:
        """The samples that the loss sees in this step, float32, without a graph."""

    def decoded(self) -> Tensor:
        """The samples as they would be decoded now, but for the rounding of networks."""

    def gradients(self, step: Step, grad_samples: Tensor) -> tuple[RateEstimate, list[Tensor]]:
        """Bits, and gradients of bits + weight * utility given the utility's gradient at `samples(step)`."""

    def move(self, step: Step, grads: list[Tensor]) -> None:
        """One step of the optimiser."""

    def count(self, *, networks: bool) -> None:
        """Correct the estimate of the bits by a count; with `networks`, by one that takes long."""

    def state(self) -> dict[str, Tensor]:
        """Everything that changes, for a checkpoint."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
