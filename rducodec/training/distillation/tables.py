"""Dataclasses from the tables of a TOML document; every refusal names the key."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from rducodec.errors import RddInputError

NONE = "none"  # stands for None, which TOML does not have


def build(kind: type, fields: Any, where: str = "") -> Any:
    """The dataclass `kind` from a table that stands at the key `where`. Raises RddInputError, naming the key."""
    if not isinstance(fields, Mapping):
        raise RddInputError(f"configuration: {where or 'the document'} is {fields!r}, a table expected")
    hints = typing.get_type_hints(kind)
    unknown = [name for name in fields if name not in hints]
    if unknown:
        close = difflib.get_close_matches(unknown[0], hints, n=1)
        hint = f", perhaps {close[0]}" if close else f"; known are {', '.join(hints)}"
        raise RddInputError(f"configuration: unknown key {_joined(where, unknown[0])}{hint}")
    for each in dataclasses.fields(kind):
        missing = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        if missing and each.name not in fields:
            raise RddInputError(f"configuration: {_joined(where, each.name)} is missing")
    return kind(**{name: _value(hints[name], value, _joined(where, name)) for name, value in fields.items()})


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` of a field, integers for floats allowed."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (each for each in arguments if each is not type(None))
        if value is None or (value == NONE and inner is not str):
            return None
        return _value(inner, value, where)
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(arguments[0], each, f"{where}[{i}]") for i, each in enumerate(value))
        raise RddInputError(f"configuration: {where} is {value!r}, a list expected")
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            _require_plain(value, where)
            return dict(value)
        raise RddInputError(f"configuration: {where} is {value!r}, a table expected")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise RddInputError(f"configuration: {where} is {value!r}, expected {hint.__name__}")
    return value


def _require_plain(value: Any, where: str) -> None:
    """TOML has dates and times as well; no option is one."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            _require_plain(each, _joined(where, name))
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value):
            _require_plain(each, f"{where}[{i}]")
    elif not isinstance(value, str | int | float):
        raise RddInputError(f"configuration: {where} is {value}, expected text, a number, true or false")
