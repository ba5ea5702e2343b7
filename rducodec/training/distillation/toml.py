"""Configurations as TOML text, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rducodec.training.distillation.configuration import Configuration

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DELETE = "\x7f"  # the one character that JSON leaves as it is and TOML wants escaped


def toml_text(configuration: Configuration) -> str:
    """A TOML document that `read_configuration` reads as the same configuration; every value is written out.

    What is None is left out: TOML has no such value, and None is the default wherever it is allowed.
    """
    lines, tables = [], []
    for name, value in configuration.fields().items():
        if isinstance(value, Mapping):
            entries = [line for line in map(_line, value.items()) if line]
            tables.append("\n".join([f"[{_key(name)}]", *entries]) if entries else "")
        else:
            lines.append(_line((name, value)))
    return "\n\n".join(part for part in ("\n".join(lines), *tables) if part) + "\n"


def _line(item: tuple[str, Any]) -> str:
    name, value = item
    return "" if value is None else f"{_key(name)} = {toml_value(value)}"


def toml_value(value: Any) -> str:
    """Text, a number, a truth value, a list or a table, on one line.

    >>> toml_value({"net": "convnet", "rates": [0.1, 1e-06], "deep": True})
    '{ net = "convnet", rates = [0.1, 1e-06], deep = true }'
    """
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(name)} = {toml_value(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace(_DELETE, r"\u007f")
    return repr(value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml_value(name)
