"""Mistakes in a user's own loss: an error that names file and line, never one that looks like ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rducodec.errors import RddInputError
from rducodec.training.distillation.labels import SampleLabels
from rducodec.training.distillation.trainer import first_gradient
from rducodec.training.utility import Utility, UtilityGradient, make_utility
from rducodec.training.utility.check import check_gradient
from tests.training.utility import tiny

HEAD = "from rducodec.training.utility import UtilityGradient\n\n\n"  # three lines
METHODS = {
    "__init__": ("self, context", "pass"),
    "gradient": ("self, samples, labels, *, iteration, label_logits=None", "return UtilityGradient(1.0, samples)"),
    "state": ("self", "return {}"),
    "load_state": ("self, state", "pass"),
    "recipe": ("self", "return {}"),
}
SHAPE = (sum(tiny.COUNTS), *tiny.SHAPE)


def written(folder: Path, *, head: str = HEAD, **bodies: str) -> str:
    """The name of a loss in a file; `bodies` in place of those of methods that do nothing."""
    lines = [head + "class Loss:\n"]
    for method, (arguments, body) in METHODS.items():
        lines.append(f"    def {method}({arguments}):\n        {bodies.pop(method, body)}\n")
    lines += [f"    def {method}(self):\n        {body}\n" for method, body in bodies.items()]
    path = folder / "own_loss.py"
    path.write_text("".join(lines))
    return f"{path}:Loss"


def loaded(name: str) -> Utility:
    return make_utility(name, tiny.context(), {})


def gradient(utility: Utility) -> UtilityGradient:
    samples = tiny.samples_of(dtype=torch.float32)
    return utility.gradient(samples, tiny.labels_of(tiny.COUNTS), iteration=3)


def called(name: str, method: str) -> Any:
    utility = loaded(name)
    if method == "gradient":
        return gradient(utility)
    return getattr(utility, method)(*([{}] if method == "load_state" else []))


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("import not_there_pkg\n", 1, "ModuleNotFoundError: No module named 'not_there_pkg'"),
        ("\nfrom rducodec.errors import NotThere\n", 2, "ImportError: cannot import name 'NotThere'"),
        ("x = 1\ny = (2 +\n", 2, r"SyntaxError: '\(' was never closed"),
        ("x = 1\ny = x / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError: Expecting property name"),  # raised in a library
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, head: str, line: int, message: str) -> None:
    name = written(tmp_path, head=head)
    with pytest.raises(RddInputError, match=rf"utility '{name}': .*own_loss\.py, line {line}: {message}") as caught:
        loaded(name)
    assert type(caught.value.__cause__).__name__ == message.partition(":")[0]


def test_a_module_that_lacks_a_package_is_told_from_a_module_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, head="import not_there_pkg\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_loss", raising=False)
    with pytest.raises(RddInputError, match=r"own_loss\.py, line 1: ModuleNotFoundError: No module named 'not_there"):
        loaded("own_loss:Loss")
    with pytest.raises(RddInputError, match="cannot import 'own_losses': No module named 'own_losses'; install it"):
        loaded("own_losses:Loss")


@pytest.mark.parametrize("method", ["__init__", "gradient", "state", "load_state", "recipe", "sources"])
def test_what_a_method_raises_is_told_with_its_line(tmp_path: Path, method: str) -> None:
    name = written(tmp_path, **{method: "raise KeyError('here')"})
    text = (tmp_path / "own_loss.py").read_text().splitlines()
    line = 1 + next(index for index, each in enumerate(text) if "KeyError" in each)
    with pytest.raises(RddInputError, match=rf"own_loss\.py, line {line}: KeyError: 'here'") as caught:
        called(name, method)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_method_with_other_arguments(tmp_path: Path) -> None:
    name = written(tmp_path, head="class Loss: pass\n" + HEAD)
    path = tmp_path / "own_loss.py"
    path.write_text(path.read_text().replace("*, iteration, label_logits=None", "step"))
    with pytest.raises(RddInputError, match=rf"utility '{name}': TypeError: .*unexpected keyword argument 'iteration'"):
        gradient(loaded(name))


def test_errors_with_a_meaning_of_their_own_pass(tmp_path: Path) -> None:
    for kind in (MemoryError, BrokenPipeError, KeyboardInterrupt):
        utility = loaded(written(tmp_path, gradient=f"raise {kind.__name__}"))
        with pytest.raises(kind):
            gradient(utility)
    head = "from rducodec.errors import RddInputError\n" + HEAD
    utility = loaded(written(tmp_path, head=head, gradient="raise RddInputError('mine')"))
    with pytest.raises(RddInputError, match=r"^mine$"):
        gradient(utility)


WRONG = [
    ("return samples", r"gradient\(\) returned Tensor; return .*UtilityGradient\(loss, samples\)"),
    ("return (1.0, samples)", r"gradient\(\) returned tuple; .*a tensor of their shape "),
    ("pass", r"gradient\(\) returned NoneType"),
    ("return UtilityGradient(1.0, None)", r"the gradient at the samples is NoneType, a tensor of shape "),
    ("return UtilityGradient(1.0, samples[1:])", r"a gradient of shape .* for samples of shape "),
    ("return UtilityGradient(samples, samples)", "the loss is Tensor, one number expected"),
    ("return UtilityGradient(None, samples)", "the loss is NoneType, one number expected"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_another_result_is_refused_in_any_iteration(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        gradient(loaded(written(tmp_path, gradient=body)))


def test_a_loss_may_be_a_tensor_of_one_number(tmp_path: Path) -> None:
    body = "return UtilityGradient(samples.sum() * 0 + 2, samples)"
    result = gradient(loaded(written(tmp_path, gradient=body)))
    assert (type(result.loss), result.loss) == (float, 2.0)


def test_gradient_of_learned_labels_is_needed() -> None:
    samples, logits = torch.zeros(SHAPE), tiny.logits_of()
    assert check_gradient(UtilityGradient(1.0, samples, logits), samples, logits).label_logits is logits
    for given in (None, logits[1:]):
        with pytest.raises(RddInputError, match="gives no gradient for the labels"):
            check_gradient(UtilityGradient(1.0, samples, given), samples, logits)


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        ("state", "pass", r"state\(\) returned NoneType, a dict of tensors expected; return \{\}"),
        ("state", "return {'rate': 0.5}", r"state\(\) has float as 'rate', text as keys and tensors as values"),
        ("recipe", "return [1]", r"recipe\(\) returned list, a dict of numbers expected"),
        ("recipe", "return {'lr': None}", r"recipe\(\) has None \(NoneType\) as 'lr', a finite float"),
        ("recipe", "import numpy; return {'lr': numpy.float32(1)}", r"\(float32\) as 'lr', .* float\(...\) makes one"),
        ("recipe", "return {'lr': float('nan')}", r"nan \(float\) as 'lr'"),
        ("recipe", "return {'lr': True}", r"True \(bool\) as 'lr'"),
        ("recipe", "return {'n': 2**64}", r"\(int\) as 'n', .*64 bits"),
    ],
)
def test_state_and_recipe_of_another_type(tmp_path: Path, method: str, body: str, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        called(written(tmp_path, **{method: body}), method)


def test_sources_are_there_where_the_loss_has_them(tmp_path: Path) -> None:
    assert not hasattr(loaded(written(tmp_path)), "sources")
    utility: Any = loaded(written(tmp_path, sources="return {'file': 'digest'}"))
    assert utility.sources() == {"file": "digest"}


class _Wrong:
    """A loss that was not loaded by name."""

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state(self, state: Any) -> None:
        pass

    def gradient(self, samples: torch.Tensor, *_: Any, **__: Any) -> Any:
        return samples


def test_first_gradient_says_what_the_protocol_wants() -> None:
    labels = SampleLabels(tiny.labels_of(tiny.COUNTS), num_classes=len(tiny.REAL_COUNTS), learning_rate=None)
    utility: Any = _Wrong()
    with pytest.raises(RddInputError, match=r"gradient\(\) returned Tensor; return .*UtilityGradient\(loss, samples\)"):
        first_gradient(utility, torch.zeros(SHAPE), labels)
