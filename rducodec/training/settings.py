"""What a user of the training can choose."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rducodec.errors import RddInputError

MIN_STEPS = 10


@dataclass(frozen=True)
class OverfitSettings:
    """How real samples are compressed.

    `lmbda` weighs bits per pixel against the mean squared error of values (1 / beta of the paper). With
    `target_bits_per_class` it is only where the search for the right weight starts, in up to five trials of 60 steps
    (of 0.3 of all steps, where that is less) before the training; the size ends at the target or a little below it, and
    far below only if more bits do not help. `max_mse` is the mean squared error that the quantisation of a slice's
    synthesis may add; with `may_coarsen`, more of it where no other way leads to the target. `device` is a torch device
    string.
    """

    steps: int = 1500
    lmbda: float = 1e-3
    max_mse: float = 5e-6
    may_coarsen: bool = False
    target_bits_per_class: float | None = None
    seed: int = 0
    device: str = "cpu"
    candidates: int = 5
    report_interval: int = 20  # steps between progress reports
    checkpoint_interval: int = 100  # steps between checkpoints

    def __post_init__(self) -> None:
        positive = ["lmbda", "max_mse", "candidates", "report_interval", "checkpoint_interval"]
        if self.target_bits_per_class is not None:
            positive.append("target_bits_per_class")
        for name in positive:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise RddInputError(f"setting {name}: {value!r}, expected a positive number")
        if self.steps < MIN_STEPS:
            raise RddInputError(f"setting steps: {self.steps}, expected at least {MIN_STEPS}")
        if not 0 <= self.seed < 2**31:
            raise RddInputError(f"setting seed: {self.seed}, expected 0..{2**31 - 1}")
