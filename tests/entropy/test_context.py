"""Contexts are causal and the wavefront keeps to it."""

from __future__ import annotations

import numpy as np
import pytest

from rducodec.entropy.context import CONTEXT_POSITIONS, context_offsets, row_delay, wavefront


@pytest.mark.parametrize(("size", "delay"), [(8, 2), (16, 3), (24, 4), (32, 5)])
def test_row_delay(size: int, delay: int) -> None:
    assert len(CONTEXT_POSITIONS[size]) == len(set(CONTEXT_POSITIONS[size])) == size
    assert row_delay(size) == delay
    assert all(dx + delay * dy < 0 for dy, dx in context_offsets(size))


@pytest.mark.parametrize("size", [8, 16, 24, 32])
@pytest.mark.parametrize("shapes", [((1, 1),), ((5, 7), (3, 4)), ((1, 9), (1, 5)), ((9, 1), (5, 1), (3, 1))])
def test_wavefront_against_its_definition(size: int, shapes: tuple[tuple[int, int], ...]) -> None:
    plan = wavefront(shapes, size)
    delay = row_delay(size)
    places = [(k, y, x) for k, (h, w) in enumerate(shapes) for y in range(h) for x in range(w)]
    expected = sorted(places, key=lambda p: (p[2] + delay * p[1], p[0], p[1]))
    assert [places[i] for i in plan.order] == expected
    number = {place: i for i, place in enumerate(expected)}
    for begin, end, gather in zip(plan.bounds, plan.bounds[1:], plan.gather, strict=False):
        assert end > begin
        for column, (k, y, x) in enumerate(expected[begin:end]):
            wanted = [number.get((k, y + dy, x + dx), plan.num_latents) for dy, dx in context_offsets(size)]
            assert gather[:, column].tolist() == wanted
            assert all(n < begin or n == plan.num_latents for n in wanted)


def test_128_by_128_takes_509_steps() -> None:
    shapes = tuple((128 >> k, 128 >> k) for k in range(6))
    assert len(wavefront(shapes, 16).gather) == 509
    assert np.array_equal(np.sort(wavefront(shapes, 16).order), np.arange(sum(h * w for h, w in shapes)))
