"""Shifted copies and their transpose: what accelerators do against what a CPU does."""

from __future__ import annotations

import pytest
import torch

from rducodec.training import shifts
from rducodec.training.shifts import Offsets

EVERY = tuple((y, x) for y in range(5) for x in range(5))
SOME: Offsets = ((0, 0), (0, 3), (4, 1), (2, 2))


@pytest.mark.parametrize("offsets", [EVERY, SOME], ids=["every", "some"])
@pytest.mark.parametrize(("slices", "grids", "height", "width"), [(2, 3, 8, 9), (1, 4, 1, 1), (3, 1, 2, 7)])
def test_at_once_is_one_after_the_other(offsets: Offsets, slices: int, grids: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    padded = torch.randn(slices, grids, height + 4, width + 4, generator=generator, dtype=torch.float64)
    rows = torch.randn(slices, 2 + len(offsets), grids, height, width, generator=generator, dtype=torch.float64)
    parts = rows[:, 2:], rows.clone()[:, 2:]  # parts of larger tensors, as contexts are
    torch.testing.assert_close(
        shifts._sum_at_once(parts[0], offsets, padded.shape), shifts._sum_each(parts[1], offsets, padded.shape)
    )
    shifts._copy_at_once(parts[0], padded, offsets)
    shifts._copy_each(parts[1], padded, offsets)
    assert torch.equal(parts[0], parts[1])
