"""The table of a run: one line a report, continued where a run is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rducodec.training.distillation.log import COLUMNS, RunLog
from rducodec.training.distillation.representation import RateEstimate
from rducodec.training.distillation.trainer import JointProgress


def progress(iteration: int, seconds: float) -> JointProgress:
    return JointProgress(iteration, 9, 0.5, RateEstimate(800.0, 160.0), 2.0, seconds)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_a_report(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = RunLog(path, resumed_from=0)
    log.add(progress(1, 0.5))
    assert [float(rows(path)[0][name]) for name in COLUMNS] == [1, 0.5, 800, 160, 2, 0.5]


@pytest.mark.parametrize("ending", ["", "4,0.5,80", "4,0.5,800,160,2,x\n", "a,b,c,d,e,f,g,h\n"])
def test_lines_after_the_checkpoint_are_dropped(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = RunLog(path, resumed_from=0)
    for iteration in (1, 2, 3):
        log.add(progress(iteration, 10.0 * iteration))
    path.write_text(path.read_text() + ending)
    RunLog(path, resumed_from=2).add(progress(3, 5.0))
    assert [(row["iteration"], row["seconds"]) for row in rows(path)] == [("1", "10.0"), ("2", "20.0"), ("3", "25.0")]


def test_a_new_run_starts_a_new_table(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    RunLog(path, resumed_from=0).add(progress(1, 1.0))
    RunLog(path, resumed_from=0)
    assert rows(path) == []
