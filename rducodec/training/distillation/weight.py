"""The weight of the utility against bits, lambda of Eq. 20: a published pair, or what holds a target size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

# Of log lambda: for a deviation of log bits, and in every iteration at a learning rate of 1e-3. Bits go with the cube
# root of lambda, slowly, and hardly any more once the rounding is hard: what comes late is in vain. Digits at 0.2 and
# 0.5 kB and four classes of CIFAR-10 at 4 kB ended 0 to 2 % below their sizes with these, 2.5 % above to 4 % below with
# a quarter of the first and 0.6 of the second.
PROPORTIONAL_GAIN, INTEGRAL_GAIN = 12.0, 0.1
EXCESS = 0.02  # of log bits, at the begin, that goes as the noise of the rounding falls
START_SHARE = 10.0  # near what held 4 kB per class of CIFAR (16 samples); digits end at twice as much
MAX_ERROR = 0.15  # of log bits, that is acted upon
MAX_DISTANCE = math.log(1e4)  # of log lambda from where it began: nothing may fill the target


class Weight(Protocol):
    """lambda from iteration to iteration."""

    @property
    def lmbda(self) -> float:
        """For the next step."""

    def told(self, num_bits: float, *, position: float, learning_rate: float) -> None:
        """Bits before the step that was done at this rate, and the position (0..1) after it."""

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

    def told(self, num_bits: float, *, position: float, learning_rate: float) -> None:  # noqa: ARG002 (one interface)
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

    The integral part goes with the learning rate: so fast do bits follow lambda.
    """

    target_bits: float
    start: float  # of lambda; 0: still to be found
    distance: float = 0.0  # of log lambda from there, without the proportional part
    error: float = 0.0  # latest deviation of log bits

    @property
    def lmbda(self) -> float:
        """Less weight of the utility where there are too many bits."""
        return self.start * math.exp(self.distance - PROPORTIONAL_GAIN * self.error)

    def told(self, num_bits: float, *, position: float, learning_rate: float) -> None:
        """Correct by the size of the step that was done."""
        error = math.log(max(num_bits, 1.0) / self.target_bits) - EXCESS * (1 - position)
        self.error = max(-MAX_ERROR, min(MAX_ERROR, error))
        distance = self.distance - INTEGRAL_GAIN * learning_rate / 1e-3 * self.error
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
