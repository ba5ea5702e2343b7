from __future__ import annotations

import io
import itertools
import sys

import pytest

from rducodec_cli import progress as progress_module
from rducodec_cli import terminal


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ünï 日本 × –", "plain ünï 日本 × –"),
        ("\x1b[2J\x9b1m\x7f", "\\x1b[2J\\x9b1m\\x7f"),
        ("a\nb\tc\r\0", "a\\nb\\tc\\r\\x00"),
        ("\u202eevil\u2066\u200b\u2028", "\\u202eevil\\u2066\\u200b\\u2028"),
        ("\udcff\ue000", "\\udcff\\ue000"),
    ],
)
def test_nothing_steers_the_terminal(text, safe):
    assert terminal.shown(text) == safe


def test_json_is_plain_ascii(capsys):
    terminal.print_json({"a\x7f": "ü\x1b\ud800"})
    out = capsys.readouterr().out
    assert out == '{\n  "a\\u007f": "\\u00fc\\u001b\\ud800"\n}\n'


def test_table(capsys):
    terminal.print_table(("part", "bits"), [("a", "1"), ("long name", "1,000")], total=("all", "1,001"))
    assert capsys.readouterr().out.splitlines() == [
        "  part        bits",
        "  a              1",
        "  long name  1,000",
        "  ----------------",
        "  all        1,001",
    ]


@pytest.mark.parametrize(("count", "text"), [(0, "0 samples"), (1, "1 sample"), (2000, "2,000 samples")])
def test_amounts(count, text):
    assert terminal.amount(count, "sample") == text


class Screen(io.StringIO):
    """Standard error that is or is not a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def shown_while(monkeypatch, screen: Screen, *, seconds: float) -> str:
    """What is printed by ten steps, each of which takes so long."""
    clock = itertools.count(step=seconds)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_module.progress("working", 10, detail=lambda: "hard") as advance:
        for _ in range(10):
            advance(1)
    return screen.getvalue()


def test_short_work_shows_nothing(monkeypatch):
    assert shown_while(monkeypatch, Screen(terminal=True), seconds=0.05) == ""
    assert shown_while(monkeypatch, Screen(terminal=False), seconds=0.05) == ""


def test_long_work_shows_a_bar_on_a_terminal(monkeypatch):
    shown = shown_while(monkeypatch, Screen(terminal=True), seconds=1.0)
    assert "working" in shown
    assert "100%" in shown
    assert "hard" in shown
    assert shown.endswith("\n")


def test_work_that_begins_again_still_says_what_it_does(monkeypatch):
    clock, screen, detail = itertools.count(step=1.0), Screen(terminal=True), ["first"]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_module.progress("working", 10, detail=lambda: detail[0]) as advance:
        for amount, detail[0] in ((3, "first"), (2, "later"), (-4, "again"), (6, "last")):
            advance(amount)
            assert detail[0] in screen.getvalue()
    shown = screen.getvalue()
    assert shown.index("again") < shown.index("70%") < shown.index("last")


def test_long_work_logs_lines_elsewhere(monkeypatch):
    lines = shown_while(monkeypatch, Screen(terminal=False), seconds=5.0).splitlines()
    assert lines == [f"working: {percent} % hard" for percent in (20, 40, 60, 80, 100)]


def test_no_standard_error_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress_module.progress("working", 1) as advance:
        advance(1)
