import pytest

from rducodec.training.evaluation.accuracy import Accuracy


def test_mean_and_deviation() -> None:
    assert Accuracy((0.5,)).std == 0.0
    assert Accuracy((0.5, 0.7)).mean == pytest.approx(0.6)
    assert Accuracy((0.5, 0.7)).std == pytest.approx(0.2 / 2**0.5)
    assert Accuracy((0.1,) * 3).std == 0.0
