"""A loss of the user's own: what goes wrong in its code is told as the user's to change, with file and line."""

from __future__ import annotations

import math
import site
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rducodec
from rducodec.errors import RddError, RddInputError
from rducodec.training.utility.check import check_gradient
from rducodec.training.utility.protocol import HasSources, Utility, UtilityGradient

_NOT_OWN = (  # this package, Python and what is installed: where an error shows, not where it is to be corrected
    Path(rducodec.__file__).parent,
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())),
)


@contextmanager
def own_code(name: str) -> Iterator[None]:
    """Inside, whatever the code of utility `name` raises becomes an RddInputError with the place and the error in it.

    Errors of this package, lack of memory and a closed output keep their own meaning.
    """
    try:
        yield
    except (RddError, MemoryError, torch.OutOfMemoryError, BrokenPipeError):
        raise
    except Exception as error:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        lines = message.strip().splitlines()
        parts = [f"utility {name!r}", *_place(error), type(error).__name__, *lines[:1]]
        raise RddInputError(": ".join(parts)) from error


def _place(error: Exception) -> list[str]:
    """File and line: of a syntax error, else the innermost in code of the user's; nothing where there is none.

    A call with wrong arguments never gets into the user's code.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return [f"{error.filename}, line {error.lineno}"]
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [f"{file}, line {line}" for file, line in frames if _is_own(file)]
    return own[-1:]


def _is_own(file: str) -> bool:
    """Generated code has a name like <string>."""
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in _NOT_OWN)


def _is_storable(value: object) -> bool:
    """As a value of a file's recipe."""
    if type(value) is int:
        return -(2**63) <= value < 2**64
    return type(value) is str or (type(value) is float and math.isfinite(value))


class OwnUtility:
    """A user's loss under the protocol: its errors are told as its own, and what it returns is checked."""

    def __init__(self, name: str, loss: Utility) -> None:
        self._name, self._loss = name, loss
        if isinstance(loss, HasSources):
            self.sources = partial(self._sources, loss)  # of the instance: those who ask look whether it is there

    def gradient(
        self, samples: Tensor, labels: Tensor, *, iteration: int, label_logits: Tensor | None = None
    ) -> UtilityGradient:
        """See `Utility.gradient`; RddInputError for another result."""
        with own_code(self._name):
            result = self._loss.gradient(samples, labels, iteration=iteration, label_logits=label_logits)
        return check_gradient(result, samples, label_logits)

    def state(self) -> dict[str, Tensor]:
        """See `Utility.state`; RddInputError for another result."""
        with own_code(self._name):
            state = self._loss.state()
        return self._checked("state", state, Tensor, "tensors")

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Utility.load_state`."""
        with own_code(self._name):
            self._loss.load_state(state)

    def recipe(self) -> dict[str, float]:
        """See `Utility.recipe`; RddInputError for another result."""
        with own_code(self._name):
            recipe = self._loss.recipe()
        checked = self._checked("recipe", recipe, object, "numbers")
        for key, value in checked.items():
            if not _is_storable(value):
                raise RddInputError(
                    f"utility {self._name!r}: recipe() has {value!r} ({type(value).__name__}) as {key!r}, a finite "
                    "float, an int of 64 bits or text expected; float(...) makes one of a tensor or numpy's"
                )
        return checked

    def _sources(self, loss: HasSources) -> dict[str, Any]:
        with own_code(self._name):
            sources = loss.sources()
        return self._checked("sources", sources, object, "what identifies its files")

    def _checked(self, method: str, result: Any, kind: Any, what: str) -> dict[str, Any]:
        """The result of a method as a dict with text as keys and values of this kind."""
        if not isinstance(result, Mapping):
            raise RddInputError(
                f"utility {self._name!r}: {method}() returned {type(result).__name__}, a dict of {what} expected; "
                "return {} if there are none"
            )
        for key, value in result.items():
            if not isinstance(key, str) or not isinstance(value, kind):
                raise RddInputError(
                    f"utility {self._name!r}: {method}() has {type(value).__name__} as {key!r}, text as keys and "
                    f"{what} as values expected"
                )
        return dict(result)
