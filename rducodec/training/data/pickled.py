"""Pickles of dicts, lists, text and arrays of bytes, as Python 2 wrote CIFAR: read without running anything.

The machine is that of torch files (`rducodec.interop.pickles`); of the names that a pickle can ask for, only the three
by which numpy rebuilds an array are known, and they stand for functions of this module.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.interop.pickles import INT64_BITS, MAX_DIMENSIONS, MAX_SHOWN, PickledFunction, PickleMachine, told

MAX_FILE_BYTES = 1 << 28  # the largest of the published ones, train of CIFAR-100, has 155 MB
BYTE_TYPES = ("u1", "|u1", "uint8")
STATE_ITEMS = 5  # of an array: version, shape, type, Fortran order, bytes


@dataclass(eq=False, slots=True)
class _ByteType:
    """numpy.dtype("u1"); its state says nothing that matters for single bytes."""


@dataclass(eq=False, slots=True)
class _ByteArray:
    """An array that is being rebuilt: empty until its state comes."""

    values: NDArray[np.uint8] | None = None


def _byte_type(code: Any = None, *_: Any) -> _ByteType:
    if code not in BYTE_TYPES:
        raise RddInputError(f"pickle: an array of {told(code)}, of bytes (u1) expected")
    return _ByteType()


def _no_subclass(*_: Any) -> Any:
    raise RddInputError("pickle: it calls numpy.ndarray; nothing was run")


_NUMPY = {("numpy", "dtype"): _byte_type, ("numpy", "ndarray"): _no_subclass} | {
    (f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: _ByteArray()
    for core in ("core", "_core")  # numpy 2 writes the second
}


def _find(module: Any, name: Any) -> PickledFunction:
    full = f"{module}.{name}"
    if (module, name) not in _NUMPY:
        raise RddInputError(f"pickle: it asks for {full[:MAX_SHOWN]!r}, which is not allowed; nothing was run")
    return PickledFunction(full, _NUMPY[module, name])


def _is_shape(shape: Any) -> bool:
    return (
        type(shape) is tuple
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 1 << INT64_BITS for size in shape)
    )


def _state_values(state: Any) -> NDArray[np.uint8]:
    """The array of a state (version, shape, type, Fortran order, bytes); text of Python 2 counts as bytes."""
    if type(state) is not tuple or len(state) != STATE_ITEMS:
        raise RddInputError(f"pickle: {told(state)} as the state of an array")
    _, shape, kind, fortran, data = state
    if not _is_shape(shape) or not isinstance(kind, _ByteType) or type(data) not in (str, bytes):
        raise RddInputError("pickle: an array whose shape, type or bytes are none")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if math.prod(shape) != len(raw):
        raise RddInputError(f"pickle: an array of shape {shape} with {len(raw)} bytes")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _ArrayMachine(PickleMachine):
    """The machine with strings of Python 2 and arrays of bytes."""

    def _op_binstring(self, text: str) -> None:
        self.stack.append(text)

    _op_short_binstring = _op_binstring

    def _op_build(self, argument: None) -> None:
        if len(self.stack) > 1 and isinstance(self.stack[-2], _ByteArray):
            target, state = self._pop(2)
            target.values = _state_values(state)
            self.stack.append(target)
        elif len(self.stack) > 1 and isinstance(self.stack[-2], _ByteType):
            self._pop(1)
        else:
            super()._op_build(argument)


def _plain(value: Any) -> Any:
    return value.values if isinstance(value, _ByteArray) else value


def read_pickled_dict(path: Path) -> dict[str, Any]:
    """The dict in a pickle, bytes as its keys made text, arrays uint8 and read-only; strings of Python 2 are text.

    Raises RddInputError, naming the file, for what is damaged, no dict, or asks for any name but numpy's array of
    bytes, and RddIOError. Nothing that the pickle names is imported or called.
    """
    with translated_errors(path):
        num_bytes = path.stat().st_size
        if num_bytes > MAX_FILE_BYTES:
            raise RddInputError(f"{path}: a pickle of {num_bytes} bytes, at most {MAX_FILE_BYTES} are allowed")
        data = path.read_bytes()
    try:
        content = _ArrayMachine(_find).run(data)
    except RddInputError as error:
        raise RddInputError(f"{path}: {error}") from error
    except (ValueError, struct.error, OverflowError) as error:
        raise RddInputError(f"{path}: damaged pickle: {error}") from error
    if type(content) is not dict:
        raise RddInputError(f"{path}: holds {told(content)}, a dict expected")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): _plain(v) for key, v in content.items()}
