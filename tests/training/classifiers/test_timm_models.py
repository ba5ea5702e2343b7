"""Entry points of timm, through a stand-in for the package."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from rducodec.errors import RddInputError, RddVersionError
from rducodec.training.classifiers import Classifier, build_classifier
from rducodec.training.randomness import generator_for


def _build(name: str = "timm:tiny", seed: int = 0, **options) -> Classifier:
    return build_classifier(
        name, channels=2, num_classes=3, size=(6, 6), generator=generator_for(seed, "test"), **options
    )


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int, width: int = 5) -> nn.Module:
        assert (name, pretrained, num_classes) == ("tiny", False, 0)
        return nn.Sequential(nn.Conv2d(in_chans, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))

    package = types.SimpleNamespace(__version__="0", is_model=lambda name: name == "tiny", create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", package)
    return package


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RddVersionError, match="pip install timm"):
        _build()


@pytest.mark.usefixtures("timm")
def test_results_follow_from_the_generator() -> None:
    x = torch.randn(4, 2, 6, 6, generator=generator_for(0, "x"))
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    network = _build(width=7)
    first, second = network(x), network(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert network.classifier.in_features == 7
    assert not torch.equal(first, second)
    torch.manual_seed(2)
    again = _build(width=7)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    assert not torch.equal(_build(seed=1, width=7)(x), first)


@pytest.mark.usefixtures("timm")
def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(RddInputError, match="no such entry point"):
        _build("timm:huge")
    with pytest.raises(RddInputError, match="depth"):
        _build(depth=3)
