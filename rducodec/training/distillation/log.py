"""The course of an optimisation as a table of numbers, and for TensorBoard where it is installed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rducodec.errors import RddVersionError
from rducodec.files import translated_errors, write_file
from rducodec.training.distillation.trainer import JointProgress

COLUMNS = ("iteration", "loss", "latent_bits", "network_bits", "lmbda", "seconds")
TENSORBOARD_FOLDER = "tensorboard"


class RunLog:
    """`log.csv` in a folder, one line a report; lines after the iteration that a run resumes from are dropped."""

    def __init__(self, path: Path, *, resumed_from: int) -> None:
        self.path = path
        rows = [row for row in _rows(path) if int(row["iteration"]) <= resumed_from]
        self._seconds = float(rows[-1]["seconds"]) if rows else 0.0  # of earlier processes
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        write_file(path, text.getvalue().encode())

    def add(self, progress: JointProgress) -> None:
        """One line."""
        rate = progress.rate
        seconds = f"{self._seconds + progress.seconds:.1f}"
        row = (progress.iteration, progress.loss, rate.latents, rate.networks, progress.lmbda, seconds)
        with translated_errors(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)


def _rows(path: Path) -> list[dict[str, str]]:
    """Whole lines: the last one may be half written where a process was killed."""
    if not path.exists():
        return []
    with translated_errors(path), path.open(encoding="utf-8", errors="replace", newline="") as file:
        return [row for row in csv.DictReader(file) if _is_whole(row)]


def _is_whole(row: Mapping[str, str]) -> bool:
    try:
        return set(row) == set(COLUMNS) and all(math.isfinite(float(row[name])) for name in COLUMNS)
    except (TypeError, ValueError):
        return False


class TensorBoardLog:
    """The same numbers as scalars, under the iteration."""

    def __init__(self, folder: Path, *, resumed_from: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RddVersionError(f"TensorBoard is missing ({error}): pip install tensorboard") from error
        self._writer: Any = SummaryWriter(folder / TENSORBOARD_FOLDER, purge_step=resumed_from + 1)

    def add(self, progress: JointProgress) -> None:
        """All numbers of a report."""
        values = {
            "utility/loss": progress.loss,
            "rate/latent_bits": progress.rate.latents,
            "rate/network_bits": progress.rate.networks,
            "rate/lmbda": progress.lmbda,
        }
        for name, value in values.items():
            self._writer.add_scalar(name, value, progress.iteration)
        self._writer.flush()
