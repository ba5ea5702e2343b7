"""Stages of the training, all lengths in proportion to the number of steps.

Those of the published schedule but one: without its stage of straight-through rounding at a low rate, the same steps
of soft rounding end with 0.5 to 3 % less error + lambda * bits (benchmarks/optimiser.py), and the last stage adds no
bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from rducodec.model import LatentConfig

WARM_UP_SHARE = 0.02  # of the steps, for each half of the warm-up; a candidate costs as much as the slice itself
LATENTS_SHARE = 0.1
SECOND_CANDIDATES = 2  # candidates that go on after the first half of the warm-up
LEARNING_RATE = 1e-2
# First gradients are much larger than later ones: with the usual 0.999 their squares hold back the next thousand steps
# (benchmarks/optimiser.py).
OVERFIT_BETA2 = 0.9
# A wide synthesis jumps at the rate of the latents; these suit widths of 16, 40 and 480.
SYNTHESIS_RATE_SHARE = 1.5
SYNTHESIS_RATE_EXPONENT = -1 / 3  # of the largest width
SOFT_END_RATE = 1e-3  # not zero: latents still have to follow lmbda when a target size is held
LATENTS_RATE = 1e-3  # with the last noise; straight-through at this stage ended 1 % larger and 0.1 dB lower on digits
WARM_UP_TEMPERATURE = 0.3
WARM_UP_NOISE = 2.0  # parameter of the Kumaraswamy noise
TEMPERATURES = (0.3, 0.1)
NOISE_DEVIATIONS = (0.25, 0.1)


class Noise(Enum):
    """What stands for rounding in a stage."""

    KUMARASWAMY = "kumaraswamy"
    GAUSSIAN = "gaussian"


@dataclass(frozen=True)
class Stage:
    """A part of the training; pairs are values at its begin and end."""

    name: str
    steps: int
    noise: Noise
    learning_rates: tuple[float, float]
    temperatures: tuple[float, float] = (WARM_UP_TEMPERATURE, WARM_UP_TEMPERATURE)
    noise_levels: tuple[float, float] = (WARM_UP_NOISE, WARM_UP_NOISE)
    candidates: int = 1
    quantized_networks: bool = False

    def learning_rate(self, step: int) -> float:
        """Cosine between the two rates."""
        first, last = self.learning_rates
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def temperature(self, step: int) -> float:
        """Of the soft rounding; linear."""
        return _linear(self.temperatures, step / self.steps)

    def noise_level(self, step: int) -> float:
        """Standard deviation or shape parameter of the noise; linear."""
        return _linear(self.noise_levels, step / self.steps)


def _linear(ends: tuple[float, float], position: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * position


def stages(steps: int, *, candidates: int) -> tuple[Stage, ...]:
    """All stages of a training of `steps` steps, the warm-up not counted."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    alone = max(1, round(steps * LATENTS_SHARE))
    rates = (LEARNING_RATE, LEARNING_RATE)
    warm_ups = [
        Stage(f"warm-up {i + 1}", warm_up, Noise.KUMARASWAMY, rates, candidates=min(number, candidates))
        for i, number in enumerate((candidates, SECOND_CANDIDATES))
        if candidates > 1
    ]
    return (
        *warm_ups,
        Stage(
            "soft rounding",
            max(1, steps - alone),
            Noise.GAUSSIAN,
            (LEARNING_RATE, SOFT_END_RATE),
            TEMPERATURES,
            NOISE_DEVIATIONS,
        ),
        Stage(
            "latents",
            alone,
            Noise.GAUSSIAN,
            (LATENTS_RATE, 0.0),
            (TEMPERATURES[1], TEMPERATURES[1]),
            (NOISE_DEVIATIONS[1], NOISE_DEVIATIONS[1]),
            quantized_networks=True,
        ),
    )


def rate_shares(config: LatentConfig) -> list[float]:
    """Learning rates of latents, entropy network, upsampling and synthesis, in shares of that of a stage."""
    synthesis = SYNTHESIS_RATE_SHARE * max(config.synthesis_widths, default=1) ** SYNTHESIS_RATE_EXPONENT
    shared = 1 + len(config.entropy_shapes()) + 1
    return [1.0] * shared + [min(1.0, synthesis)] * len(config.synthesis_shapes())
