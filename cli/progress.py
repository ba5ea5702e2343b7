"""Progress of work that may take long: a bar on a terminal, log lines elsewhere, nothing for a second or less."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from rducodec.rate import BITS_PER_KB

if TYPE_CHECKING:
    from rducodec.training import Progress as TrainingProgress

PATIENCE_S = 1.0  # before anything is shown
LOG_INTERVAL_S = 10.0  # between log lines where there is no terminal
RESOLUTION = 1000  # steps of a bar
BAR_WIDTH = 24  # characters

Advance = Callable[[float], None]


class _Reporter:
    """Adds up what is done, from any thread, and shows it on standard error."""

    def __init__(self, label: str, total: float, detail: Callable[[], str]) -> None:
        self._label, self._total, self._detail = label, total, detail
        self._done = 0.0
        self._begin = self._logged = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Any = None  # of click; made when patience ends
        self._on_terminal = sys.stderr is not None and sys.stderr.isatty()

    def advance(self, amount: float) -> None:
        with self._lock:
            self._done += amount
            now = time.monotonic()
            if self._on_terminal:
                self._show(now)
            elif now - self._logged >= LOG_INTERVAL_S:
                self._logged = now
                percent = 100 * min(1.0, self._done / self._total)
                click.echo(f"{self._label}: {percent:.0f} % {self._detail()}".rstrip(), err=True)

    def _show(self, now: float) -> None:
        if self._bar is None:
            if now - self._begin < PATIENCE_S:
                return
            self._bar = click.progressbar(
                length=RESOLUTION,
                label=self._label,
                file=sys.stderr,
                item_show_func=lambda _: self._detail(),
                width=BAR_WIDTH,
            )
            self._bar.start -= now - self._begin  # the time that is left is estimated from the real begin
            self._bar.__enter__()
        place = round(RESOLUTION * min(1.0, self._done / self._total))
        self._bar.update(place - self._bar.pos)

    def close(self) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.__exit__(None, None, None)
                self._bar = None


@contextlib.contextmanager
def progress(label: str, total: float, *, detail: Callable[[], str] = str) -> Iterator[Advance]:
    """A function to be told how much of `total` is done since its last call; `detail` is shown beside the bar."""
    reporter = _Reporter(label, max(total, 1e-9), detail)
    try:
        yield reporter.advance
    finally:
        reporter.close()


@contextlib.contextmanager
def training_progress(label: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """A function for the reports of a training; size and quality are shown as they change."""
    last: list[TrainingProgress] = []

    def detail() -> str:
        if not last:
            return ""
        kilobytes = sum(last[-1].bits_per_class) / len(last[-1].bits_per_class) / BITS_PER_KB
        return f"{last[-1].stage}  ~{kilobytes:.2f} kB/class  {last[-1].psnr:.2f} dB"

    with progress(label, 1, detail=detail) as advance:

        def told(state: TrainingProgress) -> None:
            before = last[-1].step / last[-1].total_steps if last else 0
            last[:] = [state]
            advance(state.step / state.total_steps - before)

        yield told
