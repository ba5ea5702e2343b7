"""Means, scales and their table rows against plain integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rducodec.errors import RddFormatError
from rducodec.model import QuantizedTensor
from rducodec.pixels.fitting import fit_forms, setting_of
from rducodec.pixels.forms import LOG_MANTISSA, SCALE_INDICES, Canvas, checked_forms, form_shapes, scale_parts
from rducodec.pixels.neighbours import OFFSETS, batch_size, geometry, places_of
from rducodec.pixels.wide import rows_of


@pytest.mark.parametrize("scale", [1, 2, 31, 32, 1023, 1024, 1055, 4095, 4096, 99999, (1 << 31) - 1])
def test_scale_index_is_16_times_the_logarithm(scale: int) -> None:
    octave, fine = scale_parts(np.array([float(scale)]))
    exact = 74 + 16 * math.log(scale / 1024)
    assert abs(SCALE_INDICES[octave[0], fine[0]] - min(max(exact, 0), 154)) <= 1.01


def test_logarithms_are_those_of_the_middles() -> None:
    assert LOG_MANTISSA.tolist() == [round(2048 * math.log(1 + (u + 0.5) / 16)) for u in range(16)]


def test_scale_parts_of_every_small_scale() -> None:
    scales = np.arange(1, 5000)
    octave, fine = scale_parts(scales.astype(np.float64))
    assert octave.tolist() == [s.bit_length() - 1 for s in scales.tolist()]
    assert fine.tolist() == [((16 * s) >> (s.bit_length() - 1)) - 16 for s in scales.tolist()]


def test_low_bits_keep_the_high_scale_between_two_and_four() -> None:
    scales = np.array([1.0, 2048.0, 4095.0, 4096.0, 8191.0, 8192.0, 1e6])
    _, _, low_bits = rows_of(np.zeros(7), scales)
    assert low_bits.tolist() == [0, 0, 0, 1, 1, 2, 8]


def test_centre_is_the_high_part_of_a_mean_in_the_middle_of_a_cell() -> None:
    scale = np.full(5, 40960.0)  # 4 low bits
    means = 32.0 * np.array([7.5, 23.5, 16.0, 39.5, 0.0])
    rows, centre, low_bits = rows_of(means, scale)
    assert low_bits.tolist() == [4] * 5
    assert centre.tolist() == [0, 1, 1, 2, 0]
    assert (rows[[0, 1, 3]] & 31).tolist() == [16, 16, 16]


def test_neighbours_outside_are_replaced() -> None:
    plan = geometry(3, 4)
    found = dict(zip(OFFSETS, plan.neighbours.tolist(), strict=True))
    assert found[0, -1][0] == found[-1, 0][0] == found[-1, 2][0] == 12  # nowhere
    assert found[-1, 0][2] == found[-1, 2][2] == 1  # the first row: W
    assert found[0, -1][4] == found[0, -2][4] == found[-1, -1][4] == 0  # the first column: N
    assert [found[-1, 2][5], found[-1, 2][6]] == [3, 2]  # inside; beyond the right edge: N
    assert found[-2, 0][5] == 1  # above the first row: N


def test_order_has_every_position_after_its_neighbours() -> None:
    plan = geometry(5, 7)
    step = np.empty(36, np.int64)
    step[35] = -1
    for number, positions in enumerate(plan.steps):
        step[positions] = number
    assert sorted(np.concatenate(plan.steps).tolist()) == list(range(35))
    assert (step[plan.neighbours] < step[:35]).all()


def test_weights_must_leave_sums_exact() -> None:
    tensors = [QuantizedTensor(np.zeros((1, 5), np.int32), 0), QuantizedTensor(np.full((1, 8), 1 << 23, np.int32), 0)]
    checked_forms(tensors)
    tensors[1].values[0, 0] = 9 << 23
    with pytest.raises(RddFormatError, match="weights of"):
        checked_forms(tensors)


def test_fit_finds_a_plane() -> None:
    y, x = np.indices((12, 12))
    numbers = np.stack([(3 * x + 5 * y + k) % 1000 for k in (0, 40, 90)])[:, None].astype(np.uint16)
    setting = setting_of(numbers, 4)
    fitted = fit_forms(numbers, setting)
    canvas = Canvas((1, 12, 12), 3, setting)
    canvas.values[0, :-1] = numbers.reshape(3, -1).T
    inner = np.flatnonzero((y > 1) & (x > 1) & (x < 11))
    mean, scale = canvas.predict(0, places_of(geometry(12, 12), inner), fitted.forms[0])
    errors = mean / 32 - canvas.values[0, inner].reshape(-1)
    assert np.abs(errors).mean() < 0.2
    assert (scale >= 1).all()


def test_shapes_of_forms() -> None:
    assert form_shapes(4, 4) == [(1, 5), (1, 8), (1, 10), (1, 13), (1, 15), (1, 18), (1, 15), (1, 18)]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (4, 6), (7, 5), (2, 30), (30, 2)])
def test_no_step_is_larger_than_a_batch(size: tuple[int, int]) -> None:
    largest = max(len(positions) for positions in geometry(*size).steps)
    assert largest == batch_size((1, 3, *size))
