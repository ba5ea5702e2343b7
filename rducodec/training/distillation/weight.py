"""The weight of the utility against bits, lambda of Eq. 20: a published pair, or what holds a target size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

PROPORTIONAL_GAIN = 3.0  # change of log lambda for a deviation of log bits: bits go with its cube root (digits)
INTEGRAL_GAIN = 0.06  # the same, added up in every iteration, at a learning rate of 1e-3
EXCESS = 0.08  # of log bits, at the begin, that goes as the noise of the rounding and the learning rate fall
START_SHARE = 10.0  # near what held 4 kB per class of CIFAR (16 samples); digits end at twice as much
MAX_ERROR = 0.3  # of log bits, that is acted upon
MAX_DISTANCE = math.log(
    1e4
)  # of log lambda from where it began: a target that nothing can fill must not let it grow on


class Weight(Protocol):
    """lambda from iteration to iteration."""

    @property
    def lmbda(self) -> float:
        """For the next step."""

    def told(self, num_bits: float, *, position: float) -> None:
        """Bits of the step that was done at `position` (0..1)."""

    def state(self) -> dict[str, float]:
        """For a checkpoint."""

    def load_state(self, state: dict[str, float]) -> None:
        """Inverse of `state`."""


@dataclass
class TwoStages:
    """One value in the first half, another in the second (paper, A2)."""

    first: float
    second: float
    halfway: bool = False

    @property
    def lmbda(self) -> float:
        """Of the present half."""
        return self.second if self.halfway else self.first

    def told(self, num_bits: float, *, position: float) -> None:  # noqa: ARG002 (one interface)
        """Only the position matters."""
        self.halfway = position >= 0.5

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"halfway": float(self.halfway)}

    def load_state(self, state: dict[str, float]) -> None:
        """Inverse of `state`."""
        self.halfway = bool(state["halfway"])


@dataclass
class HeldSize:
    """A proportional-integral controller of log lambda that holds the size at a target.

    The integral part goes with the learning rate, so that a run with half of it is steered half as fast. It does not
    follow the rate down within a run: that is where bits fall most (3,000 iterations of CIFAR-10 ended 6 % low), and
    where they follow lambda least.
    """

    target_bits: float
    start: float  # of lambda; 0: still to be found
    learning_rate: float  # that the optimisation begins with
    distance: float = 0.0  # of log lambda from there, without the proportional part
    error: float = 0.0  # latest deviation of log bits

    @property
    def lmbda(self) -> float:
        """Less weight of the utility where there are too many bits."""
        return self.start * math.exp(self.distance - PROPORTIONAL_GAIN * self.error)

    def told(self, num_bits: float, *, position: float) -> None:
        """Correct by the size of the step that was done."""
        error = math.log(max(num_bits, 1.0) / self.target_bits) - EXCESS * (1 - position)
        self.error = max(-MAX_ERROR, min(MAX_ERROR, error))
        distance = self.distance - INTEGRAL_GAIN * self.learning_rate / 1e-3 * self.error
        self.distance = max(-MAX_DISTANCE, min(MAX_DISTANCE, distance))

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"start": self.start, "distance": self.distance, "error": self.error}

    def load_state(self, state: dict[str, float]) -> None:
        """Inverse of `state`."""
        self.start, self.distance, self.error = state["start"], state["distance"], state["error"]


def cautious_weight(rate_grad: Tensor, utility_grad: Tensor) -> float:
    """A weight at which the utility pulls at the latents with `START_SHARE` of the root mean square of the bits.

    1 where it does not pull at all, as at networks that give nothing but a constant; the controller goes on from there.
    """
    norm = float(utility_grad.norm())
    return START_SHARE * float(rate_grad.norm()) / norm if norm > 0 else 1.0
