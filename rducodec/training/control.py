"""Holding the estimated size near a target by moving lmbda."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rducodec.training.schedule import Noise, Stage

EXCESS_STEPS = 20.0  # at a fixed lmbda, bits after n of N steps are 1 + (1 - n / N) * this / n times the last, or more
AIM = 1.01  # of the target; the last stage, in which nothing is steered, takes 0 to 3 % of the bits away
TRIAL_STEPS = 60  # after which the end can be told
TRIAL_SHARE = 0.3  # of all steps, where that is less
MAX_TRIALS = 5
TRIAL_ERROR = 0.05  # of log bits, that the steering makes up for
EXPONENT = 0.35  # bits go with lmbda to minus this, before two trials say more
EXPONENTS = (0.02, 1.0)  # 0.1 where there are many bits, 0.7 where there are few
MAX_JUMP = 4.0  # of log lmbda, from trial to trial
LMBDAS = (1e-9, 1e6)  # beyond, nothing changes any more, until squares of gradients overflow
PROPORTIONAL_GAIN = 2.0  # change of log lmbda for a deviation of log bits
INTEGRAL_GAIN = 0.1  # the same, added up with every step
MAX_ERROR = 0.3  # of log bits, that is acted upon
INTERVAL = 5  # steps between corrections


@dataclass
class RateControl:
    """Finds the lmbda of a size by short trials, then holds the size; without a target lmbda stays what it is.

    What the first steps at a wrong lmbda make of the latents stays: later the size follows slowly, with an exponent of
    about -0.15, and the error remains higher than at a lmbda that was right from the start (64 CIFAR images: 2 dB). So
    a training begins again until the size that is to be expected is near the target. The steering after that is a
    proportional-integral controller in the logarithmic domain.
    """

    base: float  # lmbda without the proportional part
    target_bits: float | None
    total_steps: int  # of the training
    error: float = 0.0  # latest deviation of log bits
    trials: int = 0  # that are over
    is_found: bool = False
    last_base: float = 0.0  # of the trial before
    last_error: float = 0.0
    best_base: float = 0.0  # of the trial that came nearest
    best_error: float = 0.0

    @property
    def lmbda(self) -> float:
        """The weight of a bit per pixel."""
        return self.base * math.exp(PROPORTIONAL_GAIN * self.error)

    def fields(self) -> dict[str, float | bool]:
        """For a checkpoint."""
        return {name: value for name, value in vars(self).items() if name not in ("target_bits", "total_steps")}

    def _deviation(self, num_bits: float, steps: int) -> float:
        """Of log bits, from what they should be after so many steps."""
        excess = (1 - steps / self.total_steps) * EXCESS_STEPS / steps
        return math.log(max(num_bits, 1.0) / ((1 + excess) * AIM * (self.target_bits or 1.0)))

    @property
    def is_trying(self) -> bool:
        """Whether lmbda is still to be found."""
        return self.target_bits is not None and not self.is_found

    def ends_trial(self, steps: int) -> bool:
        """Whether a trial is over after this step."""
        return self.is_trying and steps >= min(TRIAL_STEPS, TRIAL_SHARE * self.total_steps)

    def begins_again(self, num_bits: float, *, steps: int) -> bool:
        """Whether the training is to begin again, at another lmbda, after a trial that came to so many bits."""
        error = self._deviation(num_bits, steps)
        if self.trials == 0 or abs(error) < abs(self.best_error):
            self.best_base, self.best_error = self.base, error
        self.trials += 1
        following = self._following(error)
        self.is_found = abs(error) <= TRIAL_ERROR or self.trials == MAX_TRIALS or following == self.base
        if self.is_found:
            following = self.best_base
        self.last_base, self.last_error, self.base = self.base, error, following
        return self.base != self.last_base

    def _following(self, error: float) -> float:
        """Where to try next: along the law of all sizes, or along the line through the last two trials."""
        exponent = EXPONENT
        if self.last_base > 0:
            slope = (self.last_error - error) / math.log(self.base / self.last_base)
            exponent = max(EXPONENTS[0], min(EXPONENTS[1], slope))
        return _within(self.base * math.exp(max(-MAX_JUMP, min(MAX_JUMP, error / exponent))))

    def correct(self, num_bits: float, *, steps: int) -> None:
        """Tell the controller the size of everything, in bits, after so many steps."""
        self.error = max(-MAX_ERROR, min(MAX_ERROR, self._deviation(num_bits, steps)))
        self.base = _within(self.base * math.exp(INTEGRAL_GAIN * INTERVAL * self.error))

    def steers(self, stage: Stage, step: int) -> bool:
        """Whether lmbda is corrected after this step of the stage."""
        in_stage = stage.noise is Noise.GAUSSIAN and not stage.quantized_networks
        return self.is_found and in_stage and step % INTERVAL == 0


def _within(lmbda: float) -> float:
    return max(LMBDAS[0], min(LMBDAS[1], lmbda))
