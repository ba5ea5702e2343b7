"""What a running training tells its caller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """State of a training after `step` of `total_steps`; a search for lmbda goes back to step 0 from trial to trial.

    Bits are estimates of latents (rounded) and networks; psnr takes 1.0 as the peak value of samples.
    """

    stage: str
    step: int
    total_steps: int
    num_bits: float
    bits_per_class: tuple[float, ...]
    mse: float
    lmbda: float

    @property
    def psnr(self) -> float:
        """Of all samples together, in dB."""
        return -10 * math.log10(max(self.mse, 1e-12))


class ProgressCallback(Protocol):
    """Called now and then from the thread that trains; an exception ends the training."""

    def __call__(self, progress: Progress, /) -> None: ...
