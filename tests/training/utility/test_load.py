"""Losses by name, and a user's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rducodec.errors import RddInputError
from rducodec.training.utility.distribution import DistributionMatching
from rducodec.training.utility.gradient import GradientMatching
from rducodec.training.utility.load import make_utility
from tests.training.utility import tiny

OWN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Any

@dataclass
class Own:
    context: Any
    weight: float
    offset: float = 0.0
    def gradient(self, samples, labels, *, iteration, label_logits=None): ...
    def state(self): return {}
    def load_state(self, state): ...
    def recipe(self): return {"weight": self.weight}

class Free(Own):
    def __init__(self, context, **options):
        super().__init__(context, **options)

class Half:
    def __init__(self, context): ...
    def gradient(self): ...
    def state(self): ...
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_loss.py"
    path.write_text(OWN)
    return path


def test_the_losses_have_names() -> None:
    context = tiny.context()
    one = make_utility("dm", context, {"real_batch": 3})
    assert isinstance(one, DistributionMatching)
    assert one.real_batch == 3
    assert isinstance(make_utility("gm", context, {}), GradientMatching)


def test_a_class_of_a_file(own: Path) -> None:
    context = tiny.context()
    assert make_utility(f"{own}:Own", context, {"weight": 2.0}).recipe() == {"weight": 2.0}
    assert make_utility(f"{own}:Free", context, {"weight": 3.0}).recipe() == {"weight": 3.0}


def test_a_class_of_a_module(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(own.parent)
    monkeypatch.delitem(sys.modules, "own_loss", raising=False)
    assert make_utility("own_loss:Own", tiny.context(), {"weight": 2.0}).recipe() == {"weight": 2.0}
    assert make_utility(f"{DistributionMatching.__module__}:DistributionMatching", tiny.context(), {}).recipe() == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mtt", "expected one of dm, gm, tm, module:Class or path/to/file.py:Class"),
        (":Own", "expected one of dm"),
        ("own:", "expected one of dm"),
        ("no_such_module_there:Own", "cannot import 'no_such_module_there'.*install it, or name a file"),
        ("./own:Own", "neither the name of a module nor a path"),
        ("rducodec.errors:Own", "no class 'Own' in rducodec.errors"),
        ("no_such_file.py:Own", "no file no_such_file.py"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        make_utility(name, tiny.context(), {})


def test_options_are_those_of_the_class(own: Path) -> None:
    context = tiny.context()
    with pytest.raises(RddInputError, match="utility dm: no option 'lr'; it has real_batch, classes_per_iteration"):
        make_utility("dm", context, {"lr": 1})
    with pytest.raises(RddInputError, match="no option 'speed'; it has weight, offset"):
        make_utility(f"{own}:Own", context, {"weight": 1.0, "speed": 2})
    with pytest.raises(RddInputError, match="option 'weight' is needed"):
        make_utility(f"{own}:Own", context, {"offset": 1.0})
    with pytest.raises(RddInputError, match="option 'experts' is needed"):
        make_utility("tm", context, {})


def test_a_class_without_the_methods_is_refused(own: Path) -> None:
    with pytest.raises(RddInputError, match="has no load_state, recipe"):
        make_utility(f"{own}:Half", tiny.context(), {})
