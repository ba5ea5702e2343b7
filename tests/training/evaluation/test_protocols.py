"""The numbers of published protocols, and how a protocol with other values is named."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from rducodec.errors import RddInputError
from rducodec.training.evaluation.classify import check_trainable
from rducodec.training.evaluation.protocols import PROTOCOLS, Protocol, named_protocol


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_named_protocols_can_be_trained(name: str) -> None:
    check_trainable(named_protocol(name), (3, 16, 16), 10)


def test_published_protocol() -> None:
    protocol = named_protocol("mtt-convnet")
    steps = protocol.num_steps(7180)
    assert steps == 1000 * 29
    rates = [protocol.rate_at(step, steps) for step in (0, steps // 2 - 1, steps // 2, steps - 1)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert (protocol.momentum, protocol.weight_decay, protocol.network_options) == (0.9, 5e-4, {})


def test_schedules() -> None:
    cosine = Protocol("p", schedule="cosine", learning_rate=2.0)
    assert [cosine.rate_at(step, 4) for step in (0, 2)] == pytest.approx([2.0, 1.0])
    one_cycle = Protocol("p", schedule="one-cycle", learning_rate=2.0)
    rates = [one_cycle.rate_at(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.01
    assert one_cycle.rate_at(0, 1) == 2.0
    constant = Protocol("p", schedule="constant", learning_rate=2.0)
    assert {constant.rate_at(step, 9) for step in range(9)} == {2.0}


def test_number_of_steps_is_limited() -> None:
    protocol = Protocol("p", epochs=3, batch_size=10, min_steps=5, max_steps=8)
    assert [protocol.num_steps(n) for n in (1, 20, 21, 1000)] == [5, 6, 8, 8]


def test_other_values_are_named() -> None:
    protocol = named_protocol("mtt-convnet")
    changed = protocol.with_values({"epochs": 100, "learning_rate": "0.02", "batch_size": 256, "network.width": 64})
    assert changed.name == "mtt-convnet, epochs=100, learning_rate=0.02, network.width=64"
    assert (changed.epochs, changed.learning_rate, changed.network_options) == (100, 0.02, {"width": 64})
    assert protocol.with_values({"epochs": 1000}) == protocol
    assert protocol.network_options == {}


def test_given_epochs_lift_the_limits_of_steps() -> None:
    protocol = named_protocol("digits")
    assert protocol.num_steps(64) == 300
    assert protocol.with_values({"epochs": 7}).num_steps(64) == 14
    assert protocol.with_values({"epochs": 1}).name == "digits, epochs=1"
    assert protocol.with_values({"full_epochs": 3}).for_real_images().name == "digits, full_epochs=3"
    assert protocol.for_real_images().num_steps(320) == 10 * protocol.full_epochs


def test_another_network_is_trained_by_adam() -> None:
    protocol = named_protocol("mtt-convnet")
    assert protocol.with_network("convnet") is protocol
    other = protocol.with_network("vit")
    assert (other.network, other.optimiser, other.schedule) == ("vit", "adam", "constant")
    assert "vit" in other.name
    assert other.epochs == protocol.epochs


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs is 0, expected at least 1"),
        ("epochs", 1.5, "epochs is 1.5, expected an integer"),
        ("epochs", "many", "expected an integer"),
        ("learning_rate", "nan", "learning_rate is nan, expected a positive number"),
        ("learning_rate", 0, "expected a positive number"),
        ("momentum", 1, "below 1"),
        ("weight_decay", -1, "at least 0"),
        ("optimiser", "lion", "expected sgd or adam"),
        ("schedule", "linear", "expected constant"),
        ("min_steps", 9, "min_steps is 9, expected at most max_steps"),
        ("width", 9, "no value 'width', expected one of network, epochs"),
    ],
)
def test_senseless_values(name: str, value: object, message: str) -> None:
    protocol = dataclasses.replace(named_protocol("mtt-convnet"), max_steps=8)
    with pytest.raises(RddInputError, match=message):
        protocol.with_values({name: value})


def test_unknown_names_are_refused_before_training() -> None:
    with pytest.raises(RddInputError, match="expected one of mtt-convnet, quick-convnet, digits"):
        named_protocol("best")
    for values in ({"network": "transformer"}, {"augmentation": "magic"}, {"network.height": 3}):
        with pytest.raises(RddInputError, match=r"unknown|expected|no option"):
            check_trainable(named_protocol("digits").with_values(values), (1, 8, 8), 10)
