"""What `rdd train` says when files, the disk or a loss of the user's own fail: one line, what to change, no bug."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rducodec.errors import RddIOError
from rducodec_cli.configured import interruptible
from tests.cli.command import run

pytest.importorskip("torch")

from tests.cli.test_train import TINY

RDD = [sys.executable, "-c", "from rducodec_cli.main import main; main()"]
ROOM = "make room or lift the limit, and the same command goes on from the last state in"
OWN = """
from rducodec.training.utility.distribution import DistributionMatching
class Loss(DistributionMatching):
    def gradient(self, samples, labels, *, iteration, label_logits=None):
        if iteration == 2:
            raise RuntimeError("in the middle")
        return super().gradient(samples, labels, iteration=iteration)
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def failed(code: int, *arguments: object) -> str:
    """The error of a command that has told of its progress."""
    outcome = run(*arguments)
    assert outcome.code == code, outcome
    line = outcome.err.splitlines()[-1]
    assert line.startswith("error: "), outcome
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("import not_there_pkg\n", r"line 1: ModuleNotFoundError: No module named 'not_there_pkg'"),
        ("class Loss:\n    def gradient(self samples): ...\n", "line 2: SyntaxError: invalid syntax"),
        (OWN, "line 6: RuntimeError: in the middle"),
    ],
)
def test_mistakes_of_an_own_loss_are_no_bugs_of_ours(tmp_path, tiny, text, place):
    own = tmp_path / "own.py"
    own.write_text(text)
    message = failed(7, "train", tiny, tmp_path / "run", "--set", f"utility.loss={own}:Loss")
    assert message == f"utility '{own}:Loss': {own}, {place}"


def test_damaged_files_of_a_run_are_named(tmp_path, tiny):
    folder = tmp_path / "run"
    assert run("train", tiny, folder).code == 0
    state, file = folder / "joint.safetensors", folder / "overfitted.rdd"
    good = state.read_bytes()
    state.write_bytes(good[:40])
    message = failed(7, "train", tiny, folder)
    assert message.startswith(f"checkpoint {state}: damaged (")
    assert message.endswith("remove it to begin that part again, or choose another folder")
    state.write_bytes(good)
    file.write_bytes(b"xx\n")
    assert failed(3, "train", tiny, folder) == f"{file}: not an .rdd file: it begins with 78 78 0a"


@pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="needs a POSIX shell")
def test_a_full_disk_says_that_the_same_command_goes_on(tmp_path, tiny):
    folder = tmp_path / "run"
    line = 'ulimit -f 2; exec "$@"'  # kilobytes that a file may have: a checkpoint has more
    arguments = ["bash", "-c", line, "bash", *RDD, "train", str(tiny), str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done
    file = folder / "joint.safetensors"
    assert done.stderr.splitlines()[-1] == f"error: {file}: File too large; {ROOM} {folder}"
    assert not file.exists()
    resumed = run("train", tiny, folder)
    assert resumed.code == 0, resumed
    assert "compressing" not in resumed.err


def test_only_a_lack_of_room_is_told_so():
    for number, more in ((errno.ENOSPC, f"; {ROOM} folder"), (errno.EACCES, "")):
        with pytest.raises(RddIOError) as caught, interruptible("folder", tells=True):
            raise RddIOError(number, "x: refused")
        assert (caught.value.errno, caught.value.strerror) == (number, f"x: refused{more}")
