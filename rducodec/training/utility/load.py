"""Utility losses by name, or from a user's own module."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rducodec.errors import RddInputError
from rducodec.training.utility.own import OwnUtility, own_code
from rducodec.training.utility.protocol import Utility, UtilityContext

UTILITIES = {  # imported when asked for: trajectory matching needs experts, whose training needs this package
    "dm": "rducodec.training.utility.distribution:DistributionMatching",
    "gm": "rducodec.training.utility.gradient:GradientMatching",
    "tm": "rducodec.training.utility.trajectory:TrajectoryMatching",
}
OWN_MODULE = "rducodec_own_utility"  # before the name of a user's file, which may be that of an installed module
_METHODS = ("gradient", "state", "load_state", "recipe")


def make_utility(name: str, context: UtilityContext, options: Mapping[str, Any]) -> Utility:
    """The loss "dm", "gm", "tm", "module:Class" or "path/to/file.py:Class", made from the context and options.

    A module or file is code of the user's and is run. Raises RddInputError for a name that leads nowhere, for options
    that the class does not have or lacks, and, with file and line, for whatever the user's code raises, now or later.
    """
    if name in UTILITIES:
        make = _class(UTILITIES[name])
        _check_options(name, make, options)
        return make(context, **options)
    with own_code(name):
        make = _class(name)
        _check_options(name, make, options)
        utility = make(context, **options)
    missing = [method for method in _METHODS if not callable(getattr(utility, method, None))]
    if missing:
        raise RddInputError(f"utility {name!r}: has no {', '.join(missing)}; see rducodec.training.utility.protocol")
    return OwnUtility(name, utility)


def _class(name: str) -> Callable[..., Utility]:
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        known = ", ".join(UTILITIES)
        raise RddInputError(f"utility {name!r}: expected one of {known}, module:Class or path/to/file.py:Class")
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    found = getattr(module, attribute, None)
    if not callable(found):
        raise RddInputError(f"utility {name!r}: no class {attribute!r} in {place}")
    return found


def _module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise RddInputError(f"utility: {name!r} is neither the name of a module nor a path that ends in .py")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # missed by the module, not the module
            raise
        raise RddInputError(
            f"utility: cannot import {name!r}: {error}; install it, or name a file: path/to/file.py:Class"
        ) from error


def _module_of_file(path: Path) -> ModuleType:
    name = f"{OWN_MODULE}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RddInputError(f"utility: no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def _check_options(name: str, make: Callable[..., Utility], options: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(make).parameters.values())[1:]  # the first is the context
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    allowed = {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    listed = f"it has {', '.join(allowed)}" if allowed else "it has none"
    for option in options:
        if option not in allowed:
            raise RddInputError(f"utility {name}: no option {option!r}; {listed}")
    for option, parameter in allowed.items():
        if parameter.default is parameter.empty and option not in options:
            raise RddInputError(f"utility {name}: option {option!r} is needed")
