"""Random numbers that depend on a seed, a purpose and a step only: a training that is resumed draws the same ones."""

from __future__ import annotations

import hashlib

import torch

SEED_BITS = 63  # of a torch seed


def generator_for(seed: int, purpose: str, *steps: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that starts from all of the arguments, each combination elsewhere.

    >>> generator_for(0, "noise", 7).initial_seed() == generator_for(0, "noise", 8).initial_seed()
    False
    """
    # int: numpy's integers are written otherwise
    digest = hashlib.sha256(repr((int(seed), purpose, tuple(map(int, steps)))).encode()).digest()
    start = int.from_bytes(digest[:8], "little") & ((1 << SEED_BITS) - 1)
    return torch.Generator(device).manual_seed(start)
