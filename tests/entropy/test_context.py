"""Contexts are causal and the wavefront keeps to it."""

from __future__ import annotations

import numpy as np
import pytest

from rducodec.entropy.context import (
    COARSER_OFFSETS,
    CONTEXT_POSITIONS,
    context_offsets,
    grid_delay,
    num_steps,
    row_delay,
    wavefront,
    wavefront_of,
)
from rducodec.model import LatentConfig

GEOMETRIES = [((1, 1),), ((5, 7), (3, 4)), ((1, 9), (1, 5)), ((9, 1), (5, 1), (3, 1)), ((6, 4), (3, 2), (2, 1), (1, 1))]


@pytest.mark.parametrize(("size", "delay"), [(8, 2), (16, 3), (24, 4), (32, 5)])
def test_row_delay(size: int, delay: int) -> None:
    assert len(CONTEXT_POSITIONS[size]) == len(set(CONTEXT_POSITIONS[size])) == size
    assert row_delay(size) == delay
    assert all(dx + delay * dy < 0 for dy, dx in context_offsets(size))


@pytest.mark.parametrize("coarser", [0, 5])
@pytest.mark.parametrize("size", [8, 16, 24, 32])
@pytest.mark.parametrize("shapes", GEOMETRIES)
def test_wavefront_against_its_definition(size: int, shapes: tuple[tuple[int, int], ...], coarser: int) -> None:
    plan = wavefront(shapes, size, coarser)
    delay = row_delay(size)
    later = delay + 1 if coarser else 0
    assert grid_delay(size, coarser) == later
    places = [(k, y, x) for k, (h, w) in enumerate(shapes) for y in range(h) for x in range(w)]
    expected = sorted(places, key=lambda p: (p[2] + delay * p[1] - later * p[0], p[0], p[1]))
    assert [places[i] for i in plan.order] == expected
    assert plan.grids.tolist() == [k for k, _, _ in expected]
    number = {place: i for i, place in enumerate(expected)}
    for begin, end, gather in zip(plan.bounds, plan.bounds[1:], plan.gather, strict=False):
        assert end > begin
        for column, (k, y, x) in enumerate(expected[begin:end]):
            seen = [(k, y + dy, x + dx) for dy, dx in context_offsets(size)]
            seen += [(k + 1, y // 2 + dy, x // 2 + dx) for dy, dx in COARSER_OFFSETS[coarser]]
            wanted = [number.get(place, plan.num_latents) for place in seen]
            assert gather[:, column].tolist() == wanted
            assert all(n < begin or n == plan.num_latents for n in wanted)


def test_128_by_128_takes_509_steps() -> None:
    shapes = tuple((128 >> k, 128 >> k) for k in range(6))
    assert len(wavefront(shapes, 16).gather) == 509
    assert np.array_equal(np.sort(wavefront(shapes, 16).order), np.arange(sum(h * w for h, w in shapes)))


@pytest.mark.parametrize(("coarser", "steps"), [(0, 509), (5, 509 + 5 * 4)])
def test_number_of_steps(coarser: int, steps: int) -> None:
    config = LatentConfig(3, 128, 128, num_scales=6, context_size=16, coarser_size=coarser)
    assert num_steps(config) == steps
    assert len(wavefront_of(config).gather) <= steps
