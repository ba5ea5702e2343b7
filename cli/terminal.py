"""What every command prints: text that is safe to show, tables, JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import click

UNSAFE_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))  # controls, directions, line ends, ...
INDENT = "  "


def shown(text: object) -> str:
    r"""Text from a file or a system, on one line, with everything escaped that could steer a terminal.

    >>> shown("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    return "".join(_escaped(c) if unicodedata.category(c) in UNSAFE_CATEGORIES else c for c in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def print_json(value: Any) -> None:
    """One JSON document on standard output, pure ASCII."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f"))


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values in two columns; a name that is empty continues the line above."""
    rows = [(name, shown(value)) for name, value in fields]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{INDENT}{click.style(name.ljust(width), dim=True)}{INDENT}{value}".rstrip())


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, total: Sequence[str] | None = None
) -> None:
    """Columns under a header, the first `left` to the left and numbers to the right; `total` stands below a rule."""
    body = [[shown(cell) for cell in row] for row in rows]
    everything = [list(header), *body, *([list(total)] if total else [])]
    widths = [max(len(row[i]) for row in everything) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        pairs = enumerate(zip(row, widths, strict=True))
        return INDENT + INDENT.join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in pairs).rstrip()

    click.echo(click.style(line(header), dim=True))
    for row in body:
        click.echo(line(row))
    if total:
        click.echo(INDENT + "-" * (sum(widths) + len(INDENT) * (len(widths) - 1)))
        click.echo(line(total))


def amount(count: int, noun: str, plural: str | None = None) -> str:
    """'1 class', '2,000 classes'."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
