"""What a layout of files is: its name, its files, how it is recognised and read, and what only a user can say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.interop.pickles import StoredTensor, told
from rducodec.interop.source import SourceSet, make_source, naming
from rducodec.interop.space import parse_space

PIXELS = ValueSpace()
SPECIAL = ("experiment", "factor", "size", "w0")  # fields of `Request` that only some layouts have a use for
# Data sets whose constants are the same in every family of methods, as words of a file name.
COMMON_SETS = {"cifar10": "cifar10", "imagenet": "imagenet"}
Value = TypeVar("Value")


@dataclass(frozen=True)
class Request:
    """What a user says about a source; None where nothing was said. All but SPECIAL are those of `make_source`."""

    space: ValueSpace | None = None
    divisor: int | None = None
    num_classes: int | None = None
    class_names: Sequence[str] = ()
    hard_labels: bool | None = False  # None: soft labels or hard ones, for those who only count
    temperature: float | None = None  # labels are logits; what they are divided by before the softmax
    experiment: int | None = None  # which one of a file, from 0
    factor: int | None = None  # an image holds factor x factor samples
    size: tuple[int, int] | None = None  # height, width
    w0: float | None = None  # frequency of the hidden layers of a sine network

    def source_options(self) -> dict[str, Any]:
        """Keywords of `make_source`."""
        return {name: value for name, value in vars(self).items() if name not in SPECIAL}


@dataclass(frozen=True)
class Layout:
    """One way in which authors leave a distilled dataset on disk."""

    name: str
    files: str  # what it consists of, for a person
    read: Callable[[Path, Request], SourceSet] = field(repr=False)  # of the file that a name in a folder stands for
    in_folder: re.Pattern[str] | None = None  # name of that file in a folder
    holds: Callable[[Any], bool] | None = None  # whether the object of a torch file is of this layout
    needs: frozenset[str] = frozenset()  # of SPECIAL


def tensor(value: Any, what: str) -> StoredTensor:
    """`value`, which must be a tensor. Raises RddInputError."""
    if not isinstance(value, StoredTensor):
        raise RddInputError(f"{what} is {told(value)}, a tensor expected")
    return value


def required(value: Value | None, option: str, reason: str) -> Value:
    """`value`, which only a user knows. Raises RddInputError that names the option."""
    if value is None:
        raise RddInputError(f"{option}: {reason}; state it (--{option.replace('_', '-')})")
    return value


def named_space(path: Path, sets: dict[str, str]) -> ValueSpace | None:
    """The standardised space of the data set that a file name names, as a word of its own; None for none or several."""
    words = set(re.split(r"[^a-z0-9]+", path.stem.lower()))
    found = [constants for name, constants in sets.items() if name in words]
    return parse_space(f"standardised:{found[0]}") if len(found) == 1 and "zca" not in words else None


def finish(path: Path, samples: Any, labels: Any, options: dict[str, Any], hint: str) -> SourceSet:
    """The checked source; `hint` says what is known about a value space that the user has to state.

    Raises RddInputError that names the file.
    """
    with naming(path):
        if options["space"] is None and samples.dtype.kind == "f":
            raise RddInputError(f"space: the value space is not in the files; state it (--space): {hint}")
        return make_source(samples, labels, **options)
