"""Holding the estimated size near a target by moving lmbda."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rducodec.training.schedule import Noise, Stage

AIM = 1.0  # of the target: the last stages add a little, and `trim` takes off what is too much
PROPORTIONAL_GAIN = 2.0  # change of log lmbda for a deviation of log bits
INTEGRAL_GAIN = 0.05  # the same, added up with every step
START = 0.5  # of the given lmbda, at first: latents that were forced to zero hardly come back, so sizes come from above
MAX_ERROR = 0.3  # of log bits, that is acted upon
INTERVAL = 5  # steps between corrections
FREE_SHARE = 0.15  # of the steering stage goes without: what untrained networks need says nothing about the end


@dataclass
class RateControl:
    """A proportional-integral controller in the logarithmic domain; without a target lmbda stays what it is.

    The size follows lmbda with an exponent of about -0.15 and a delay of some 60 steps at the full learning rate:
    with these gains the loop is critically damped.
    """

    base: float  # lmbda without the proportional part
    target_bits: float | None
    error: float = 0.0  # latest deviation of log bits

    @classmethod
    def start(cls, lmbda: float, target_bits: float | None) -> RateControl:
        """The state before the first step."""
        return cls(lmbda if target_bits is None else START * lmbda, target_bits)

    @property
    def lmbda(self) -> float:
        """The weight of a bit per pixel."""
        return self.base * math.exp(PROPORTIONAL_GAIN * self.error)

    def correct(self, num_bits: float) -> None:
        """Tell the controller the present size of everything, in bits."""
        if self.target_bits is None:
            return
        error = math.log(max(num_bits, 1.0) / (AIM * self.target_bits))
        self.error = max(-MAX_ERROR, min(MAX_ERROR, error))
        self.base *= math.exp(INTEGRAL_GAIN * INTERVAL * self.error)


def steers(stage: Stage, step: int) -> bool:
    """Whether lmbda is corrected after this step of the stage."""
    if stage.noise is not Noise.GAUSSIAN or stage.quantized_networks or step < FREE_SHARE * stage.steps:
        return False
    return step % INTERVAL == 0
