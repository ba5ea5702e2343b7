"""Holding the estimated size at a target by moving lmbda."""

from __future__ import annotations

import math
from dataclasses import dataclass

AIM = 0.99  # of the target: the file ends a little below it
GAIN = 1.0  # change of log lmbda for a deviation of log bits, at each correction at the full learning rate
FINAL_GAIN = 0.1  # the same in the last stage, where every step corrects
MAX_CORRECTION = 0.5  # of log lmbda, at each correction


@dataclass
class RateControl:
    """An integral controller in the logarithmic domain; without a target lmbda stays what it is."""

    lmbda: float
    target_bits: float | None

    def correct(self, num_bits: float, *, gain: float) -> None:
        """Tell the controller the present size of everything, in bits."""
        if self.target_bits is None:
            return
        error = math.log(max(num_bits, 1.0) / (AIM * self.target_bits))
        self.lmbda *= math.exp(max(-MAX_CORRECTION, min(MAX_CORRECTION, gain * error)))

    def accepts(self, num_bits: float) -> bool:
        """Whether a file of this size meets the target."""
        return self.target_bits is None or num_bits <= self.target_bits
