"""The table of a run, and the same for TensorBoard: one line a report, continued where a run is."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rducodec.errors import RddVersionError
from rducodec.training.distillation.log import COLUMNS, TENSORBOARD_FOLDER, RunLog, TensorBoardLog
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


class RecordedWriter:
    """Stands for `torch.utils.tensorboard.SummaryWriter`: remembers what it was told and how much of it was flushed."""

    made: list[RecordedWriter]

    def __init__(self, log_dir: Path, purge_step: int | None = None) -> None:
        self.log_dir, self.purge_step = log_dir, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.num_flushed = 0
        self.made.append(self)

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.scalars.append((tag, scalar_value, global_step))

    def flush(self) -> None:
        self.num_flushed = len(self.scalars)


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[RecordedWriter]:
    made: list[RecordedWriter] = []
    monkeypatch.setattr(RecordedWriter, "made", made, raising=False)
    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = RecordedWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return made


def test_tensorboard_gets_every_number_of_a_report_under_its_iteration(
    tmp_path: Path, writers: list[RecordedWriter]
) -> None:
    log = TensorBoardLog(tmp_path, resumed_from=0)
    log.add(progress(1, 0.5))
    log.add(progress(7, 3.0))
    (writer,) = writers
    assert writer.log_dir == tmp_path / TENSORBOARD_FOLDER
    names = {"utility/loss": 0.5, "rate/latent_bits": 800.0, "rate/network_bits": 160.0, "rate/lmbda": 2.0}
    assert sorted(writer.scalars) == sorted((name, value, step) for name, value in names.items() for step in (1, 7))
    assert writer.num_flushed == len(writer.scalars)  # a run that is killed has shown them


@pytest.mark.parametrize("resumed_from", [0, 250])
def test_tensorboard_drops_what_a_resumed_run_does_again(
    resumed_from: int, tmp_path: Path, writers: list[RecordedWriter]
) -> None:
    TensorBoardLog(tmp_path, resumed_from=resumed_from)
    assert [writer.purge_step for writer in writers] == [resumed_from + 1]


def test_tensorboard_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RddVersionError, match="pip install tensorboard"):
        TensorBoardLog(tmp_path, resumed_from=0)


def test_tensorboard_shows_the_course_of_a_resumed_run(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = TensorBoardLog(tmp_path, resumed_from=0)
    for iteration in (1, 2, 3, 4):
        first.add(progress(iteration, 1.0))
    again = TensorBoardLog(tmp_path, resumed_from=2)
    again.add(progress(3, 1.0))
    shown = reading.EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER)).Reload()
    assert [(event.step, event.value) for event in shown.Scalars("utility/loss")] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert [event.value for event in shown.Scalars("rate/latent_bits")] == [800.0] * 3
