"""Processes that train together: sharing, averaging, and two of them on a distillation."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rducodec.training.checkpoint import read_checkpoint
from rducodec.training.group import ALONE, Group, joined_group
from tests.training.distillation.small import digits, distil, environment

REPOSITORY = Path(__file__).parents[2]


def test_parts_cover_everything_once() -> None:
    values = torch.arange(7)
    parts = [Group(rank, 3).share(values) for rank in range(3)]
    assert torch.equal(torch.cat(parts), values)


def test_one_process_changes_nothing() -> None:
    tensors = [torch.tensor([0.1]), torch.ones(2, 2)]
    assert all(a is b for a, b in zip(ALONE.means(tensors), tensors, strict=True))
    ALONE.wait()


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with joined_group(torch.device("cpu")) as group:
        assert group == ALONE


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_two_processes_do_what_one_does_with_the_doubled_batch(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tests.training.distillation.small", str(tmp_path / "two"), "0"]
    processes = [
        subprocess.Popen(
            [*command, "real_batch=5", "iterations=1"], cwd=REPOSITORY, env=environment(r, size=2, port=port)
        )
        for r in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    ranks = [(tmp_path / "two" / f"rank{r}.txt").read_text() for r in range(2)]
    assert ranks[0] == ranks[1], "processes went apart"
    assert len(digits(2).train.images) > 20
    distil(tmp_path / "one", utility__options={"real_batch": 10}, joint__iterations=1)
    (two, _), (one, _) = (read_checkpoint(tmp_path / name / "joint.safetensors") for name in ("two", "one"))
    assert set(one) == set(two)
    # After one iteration the first moments of Adam are a tenth of the gradients.
    moments = [name for name in one if ".first." in name or "/first." in name]
    assert len(moments) > 5
    for name in moments:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5 * float(one[name].abs().max() + 1e-9))
    losses = [(tmp_path / name / "log.csv").read_text().splitlines()[1].split(",")[1] for name in ("two", "one")]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
