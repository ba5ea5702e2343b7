"""Progress of work that may take long: a bar on a terminal, log lines elsewhere, nothing for a second or less."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from rducodec.rate import BITS_PER_KB

if TYPE_CHECKING:
    from rducodec.training import Progress as TrainingProgress
    from rducodec.training.distillation import Reports
    from rducodec.training.distillation.trainer import JointProgress

PATIENCE_S = 1.0  # before anything is shown
LOG_INTERVAL_S = 10.0  # between log lines where there is no terminal, at least
LOG_SHARE = 0.01  # of the time so far, at least: a hundred lines an hour, not hundreds
RESOLUTION = 1000  # steps of a bar
BAR_WIDTH = 24  # characters

Advance = Callable[[float], None]


class _Reporter:
    """Adds up what is done, from any thread, and shows it on standard error."""

    def __init__(self, label: str, total: float, detail: Callable[[], str], *, show_eta: bool) -> None:
        self._label, self._total, self._detail, self._show_eta = label, total, detail, show_eta
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
            elif now - self._logged >= max(LOG_INTERVAL_S, LOG_SHARE * (now - self._begin)):
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
                show_eta=self._show_eta,
            )
            self._bar.start -= now - self._begin  # the time that is left is estimated from the real begin
            self._bar.__enter__()
        place = round(RESOLUTION * min(1.0, self._done / self._total))
        if place > self._bar.pos:
            self._bar.update(place - self._bar.pos)
        else:  # less may be done than before, where a training begins again: the bar waits, what is beside it does not
            self._bar.render_progress()

    def close(self) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.__exit__(None, None, None)
                self._bar = None


@contextlib.contextmanager
def progress(label: str, total: float, *, detail: Callable[[], str] = str, show_eta: bool = True) -> Iterator[Advance]:
    """A function to be told how much of `total` is done since its last call; `detail` is shown beside the bar.

    Without `show_eta`, the bar does not estimate the time that is left; `detail` may say it.
    """
    reporter = _Reporter(label, max(total, 1e-9), detail, show_eta=show_eta)
    try:
        yield reporter.advance
    finally:
        reporter.close()


@contextlib.contextmanager
def training_progress(label: str, *, num_classes: int) -> Iterator[Callable[[TrainingProgress], None]]:
    """A function for the reports of a training; size, of one of `num_classes`, and quality are shown as they change."""
    last: list[TrainingProgress] = []

    def detail() -> str:
        if not last:
            return ""
        kilobytes = last[-1].num_bits / num_classes / BITS_PER_KB
        return f"{last[-1].stage}  ~{kilobytes:.2f} kB/class  {last[-1].psnr:.2f} dB"

    with progress(label, 1, detail=detail) as advance:

        def told(state: TrainingProgress) -> None:
            before = last[-1].step / last[-1].total_steps if last else 0
            last[:] = [state]
            advance(state.step / state.total_steps - before)

        yield told


@contextlib.contextmanager
def resumable_progress(label: str) -> Iterator[Callable[[float, str], None]]:
    """A function to be told the share that is done, 0..1, and what to show beside it.

    What was done by an earlier process is there at once; the time that is left follows from the pace since then.
    """
    begin = time.monotonic()
    first: list[tuple[float, float]] = []  # share and time that the pace is counted from
    last: list[tuple[float, str]] = [(0.0, "")]

    def detail() -> str:
        share, text = last[-1]
        left = _time_left(first[-1], share) if first else None
        return text if left is None else f"{text}  {duration(left)} left"

    with progress(label, 1, detail=detail, show_eta=False) as advance:

        def told(share: float, text: str) -> None:
            now = time.monotonic()
            if not first or now - begin < PATIENCE_S:
                first[:] = [(share, now)]
            before = last[-1][0]
            last[:] = [(share, text)]
            advance(share - before)

        yield told


def _time_left(first: tuple[float, float], share: float) -> float | None:
    """Seconds, or None before anything is known."""
    done = share - first[0]
    return (time.monotonic() - first[1]) * (1 - share) / done if done > 0 else None


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(59.6), duration(3725)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def joint_progress(label: str, *, num_classes: int | None = None) -> Iterator[Callable[[JointProgress], None]]:
    """A function for the reports of a joint optimisation; sizes are those of a class, or of all if it is not known."""
    with resumable_progress(label) as told:

        def told_joint(state: JointProgress) -> None:
            kilobytes = (state.rate.latents + state.rate.networks) / (num_classes or 1) / BITS_PER_KB
            size = f"~{kilobytes:.2f} kB" + ("/class" if num_classes else "")
            place = f"{state.iteration}/{state.iterations}"
            told(state.iteration / state.iterations, f"{place}  loss {state.loss:.4g}  {size}  lmbda {state.lmbda:.3g}")

        yield told_joint


@contextlib.contextmanager
def distillation_progress(
    say: Callable[[str], object], *, num_classes: int, num_thresholds: int = 1
) -> Iterator[Reports]:
    """Reports for distillations: each part has a bar of its own, which ends where `say` is told the next one."""
    from rducodec.training.distillation import Reports

    with contextlib.ExitStack() as opened:
        label = ""
        told: Callable[[Any], object] = str  # of no part yet

        def close() -> None:
            nonlocal label
            opened.close()
            label = ""

        def told_in(wanted: str, make: Callable[[str], AbstractContextManager[Callable[[Any], object]]]) -> Any:
            nonlocal label, told
            if label != wanted:
                close()
                told, label = opened.enter_context(make(wanted)), wanted
            return told

        def say_between(line: str) -> None:
            close()
            say(line)

        yield Reports(
            say=say_between,
            initial=lambda state: told_in("compressing", lambda name: training_progress(name, num_classes=num_classes))(
                state
            ),
            joint=lambda state: told_in("distilling", lambda name: joint_progress(name, num_classes=num_classes))(
                state
            ),
            export=lambda done: told_in("quantising", lambda name: progress(name, num_thresholds))(done),
        )
