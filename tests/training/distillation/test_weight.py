"""The weight of the utility: two stages, and a size held at a target."""

from __future__ import annotations

import math

import pytest
import torch

from rducodec.training.distillation.weight import (
    EXCESS,
    MAX_ERROR,
    PROPORTIONAL_GAIN,
    START_SHARE,
    HeldSize,
    TwoStages,
    cautious_weight,
)


def test_the_second_weight_counts_from_halfway_on() -> None:
    weight = TwoStages(8.0, 2.0)
    seen = []
    for iteration in range(6):
        seen.append(weight.lmbda)
        weight.told(1.0, position=(iteration + 1) / 6, learning_rate=1e-3)
    assert seen == [8.0] * 3 + [2.0] * 3


@pytest.mark.parametrize("start", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("learning_rate", [1e-3, 5e-3])
def test_a_size_is_held_from_any_start(start: float, learning_rate: float) -> None:
    """Bits that follow the cube root of the weight, late, at a speed that goes with the learning rate."""
    weight, log_bits = HeldSize(1000.0, start), math.log(3000.0)
    iterations = round(4 / learning_rate)
    for iteration in range(iterations):
        goal = math.log(1000.0) + math.log(weight.lmbda) / 3
        log_bits += (goal - log_bits) * 4 * learning_rate
        weight.told(math.exp(log_bits), position=(iteration + 1) / iterations, learning_rate=learning_rate)
    assert math.exp(log_bits) == pytest.approx(1000.0, rel=0.05)


@pytest.mark.parametrize(("iterations", "learning_rate"), [(300, 5e-3), (500, 2e-3), (3000, 2e-3)])
def test_a_size_is_held_while_bits_fall_with_the_learning_rate(iterations: int, learning_rate: float) -> None:
    """As those of samples that stop dithering do; and they follow ever more slowly."""
    weight, log_bits = HeldSize(1000.0, 1.0), math.log(1000.0)
    for iteration in range(iterations):
        share = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * iteration / iterations))
        goal = math.log(1000.0) + math.log(weight.lmbda) / 3 + 0.2 * (share - 0.6)
        log_bits += (goal - log_bits) * 4 * learning_rate * share
        weight.told(math.exp(log_bits), position=(iteration + 1) / iterations, learning_rate=learning_rate * share)
    assert math.exp(log_bits) == pytest.approx(1000.0, rel=0.02)


def test_too_many_bits_lower_the_weight_and_a_state_continues() -> None:
    weight = HeldSize(100.0, 1.0)
    weight.told(120.0, position=0.1, learning_rate=1e-3)
    assert weight.lmbda < 1.0
    other = HeldSize(100.0, 5.0)
    other.load_state(weight.state())
    assert other.lmbda == weight.lmbda


def test_bits_may_be_more_while_the_noise_of_rounding_falls() -> None:
    weight, early = HeldSize(100.0, 1.0), 100.0 * math.exp(EXCESS)
    weight.told(early, position=0.0, learning_rate=1e-3)
    assert weight.lmbda == pytest.approx(1.0)
    weight.told(early, position=1.0, learning_rate=1e-3)
    assert weight.lmbda < 1.0


@pytest.mark.parametrize(("bits", "factor"), [(1.0, 1e4), (1e9, 1e-4)])
@pytest.mark.parametrize("learning_rate", [5e-3, 1e6])
def test_a_size_that_nothing_reaches_leaves_the_weight_finite(bits: float, factor: float, learning_rate: float) -> None:
    weight = HeldSize(1000.0, 2.0)
    for _ in range(5000):
        weight.told(bits, position=1.0, learning_rate=learning_rate)
    at_bound = weight.lmbda
    assert at_bound == pytest.approx(
        2.0 * factor * math.exp(PROPORTIONAL_GAIN * MAX_ERROR * math.copysign(1, factor - 1))
    )
    for _ in range(100):
        weight.told(1000.0 * 1000.0 / bits, position=1.0, learning_rate=learning_rate)
    back = math.log(at_bound / weight.lmbda) * math.copysign(1, factor - 1)
    assert back > 1, "at once"


def test_the_first_weight_is_cautious() -> None:
    rate, utility = torch.tensor([3.0, -4.0]), torch.tensor([0.0, 1e-4])
    weight = cautious_weight(rate, utility)
    assert float((weight * utility).norm()) == pytest.approx(START_SHARE * float(rate.norm()))
    assert cautious_weight(rate, torch.zeros(2)) == 1.0
