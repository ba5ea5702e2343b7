"""Dropout that follows from a seed and survives a checkpoint."""

from __future__ import annotations

import pytest
import torch

from rducodec.errors import RddInputError
from rducodec.training.classifiers import build_classifier
from rducodec.training.classifiers.base import initialise
from rducodec.training.classifiers.dropout import Dropout
from rducodec.training.randomness import generator_for


def _dropout(rate: float, seed: int) -> Dropout:
    dropout = Dropout(rate)
    initialise(dropout, generator_for(seed, "test"))
    return dropout


def test_rate_and_scale() -> None:
    y = _dropout(0.25, 0)(torch.ones(100, 100))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs((y == 0).float().mean() - 0.25) < 0.02
    assert torch.equal(_dropout(0.25, 0).eval()(torch.ones(9)), torch.ones(9))


def test_a_restored_network_draws_the_same() -> None:
    def vit(seed: int) -> torch.nn.Module:
        return build_classifier(
            "vit",
            channels=1,
            num_classes=2,
            size=(8, 8),
            generator=generator_for(seed, "test"),
            dim=8,
            depth=1,
            heads=1,
        )

    x = torch.randn(2, 1, 8, 8, generator=generator_for(1, "x"))
    network = vit(0)
    first = network(x)
    restored = vit(5)
    restored.load_state_dict(network.state_dict())
    state = torch.random.get_rng_state()
    second = network(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first, second)
    assert torch.equal(restored(x), second)
    assert torch.equal(vit(0)(x), first)


@pytest.mark.parametrize("rate", ["abc", True, 1.0, -0.1, None])
def test_a_rate_that_is_none_is_refused(rate: object) -> None:
    with pytest.raises(RddInputError, match=r"dropout: .*, expected at least 0 and less than 1"):
        Dropout(rate)  # type: ignore[arg-type] # as TOML may have it
