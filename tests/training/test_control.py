"""The weight of bits that a target size asks for: found by trials, then steered."""

from __future__ import annotations

import math

import pytest

from rducodec.training.control import AIM, EXCESS_STEPS, MAX_TRIALS, TRIAL_ERROR, TRIAL_STEPS, RateControl

TOTAL_STEPS = 1000
EXPECTED = AIM * (1 + (1 - TRIAL_STEPS / TOTAL_STEPS) * EXCESS_STEPS / TRIAL_STEPS)  # after a trial, for a target of 1


def _bits(lmbda: float) -> float:
    """After a trial: more and more slowly growing for small weights, to a limit of 4,000."""
    return 4000 / (1 + (lmbda / 0.01) ** 0.6)


def _found(start: float, target: float) -> tuple[RateControl, float]:
    control = RateControl(start, target, TOTAL_STEPS)
    while True:
        assert control.is_trying
        assert not control.ends_trial(TRIAL_STEPS - 1)
        assert control.ends_trial(TRIAL_STEPS)
        bits = _bits(control.lmbda)
        if not control.begins_again(bits, steps=TRIAL_STEPS):
            return control, bits


@pytest.mark.parametrize("start", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("target", [300.0, 1000.0, 2000.0])
def test_a_few_trials_find_the_weight_of_a_size(start: float, target: float) -> None:
    control, bits = _found(start, target)
    assert abs(math.log(bits / (EXPECTED * target))) <= TRIAL_ERROR
    assert not control.is_trying
    assert not control.ends_trial(TRIAL_STEPS)


def test_a_size_beyond_all_weights_is_approached() -> None:
    control, bits = _found(1e-2, 8000.0)
    assert control.trials == MAX_TRIALS
    assert bits > 0.99 * 4000


def test_in_the_end_the_nearest_of_all_trials_is_taken() -> None:
    control = RateControl(1.0, 1000.0, TOTAL_STEPS)
    bases = []
    for bits in (1e4, 1.5e3, 1e5, 1e6, 1e7):  # of a training that goes by no law
        assert control.is_trying
        bases.append(control.base)
        again = control.begins_again(bits, steps=TRIAL_STEPS)
    assert again
    assert not control.is_trying
    assert control.trials == MAX_TRIALS
    assert control.base == bases[1]


@pytest.mark.parametrize("start", [5e-324, 1e-9, 1e6, 1e30])
@pytest.mark.parametrize("bits", [0.0, 1.0, 1e12])
def test_weights_stay_within_what_floats_can_bear(start: float, bits: float) -> None:
    control = RateControl(start, 1000.0, TOTAL_STEPS)
    for _ in range(MAX_TRIALS):
        if control.is_trying:
            control.begins_again(bits, steps=TRIAL_STEPS)
    for _ in range(10_000):
        control.correct(bits, steps=TOTAL_STEPS)
    assert 1e-10 < control.lmbda < 1e7


def test_short_trainings_have_short_trials() -> None:
    control = RateControl(1.0, 100.0, 40)
    assert control.ends_trial(12)
    assert not control.ends_trial(11)


def test_too_many_bits_raise_the_weight_for_good() -> None:
    control = RateControl(1.0, 100.0, TOTAL_STEPS)
    control.correct(120.0, steps=TOTAL_STEPS)
    assert control.lmbda > control.base > 1.0


def test_without_a_target_there_is_nothing_to_find() -> None:
    control = RateControl(1.0, None, TOTAL_STEPS)
    assert not control.is_trying
    assert not control.ends_trial(TRIAL_STEPS)


def test_a_state_continues() -> None:
    control = RateControl(1.0, 100.0, TOTAL_STEPS)
    control.begins_again(1e3, steps=TRIAL_STEPS)
    other = RateControl(target_bits=100.0, total_steps=TOTAL_STEPS, **control.fields())  # type: ignore[arg-type]
    assert other == control
