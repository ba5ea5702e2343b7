"""Dropout that draws from a seed and a counter of its own, never from the global generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rducodec.errors import RddInputError
from rducodec.training.classifiers.base import OwnStart
from rducodec.training.randomness import SEED_BITS, generator_for


class Draws(OwnStart):
    """A seed and how often it was drawn from; both travel in `state_dict`, so a resumed training draws the same."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = 0
        self.count = 0

    def start(self, generator: torch.Generator) -> None:
        self.seed = int(torch.randint(1 << SEED_BITS - 1, (), generator=generator, device=generator.device))
        self.count = 0

    def next(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator for the next draw."""
        self.count += 1
        return generator_for(self.seed, "dropout", self.count, device=device)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.seed, self.count])

    def set_extra_state(self, state: Tensor) -> None:
        self.seed, self.count = (int(value) for value in state)


class Dropout(nn.Module):
    """In training, zeros values with probability `rate` and scales the others up by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise RddInputError(f"network option dropout: {rate!r}, expected at least 0 and less than 1")
        self.rate = rate
        self.draws = Draws()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape, generator=self.draws.next(x.device), device=x.device) >= self.rate
        return x * kept / (1 - self.rate)
