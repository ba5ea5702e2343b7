"""`rdd train` on two classes of the embedded digits, with trainings too short to be good."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rducodec
from rducodec_cli import progress as progress_module
from tests.cli.command import refused, run

pytest.importorskip("torch")

from rducodec.data import load_digits
from rducodec.training.distillation.configuration import configuration_names, read_configuration

TINY = """
base = "digits"
[data]
classes = [1, 0]
[samples]
spc = 2
decoder = "4"
[initial]
steps = 10
[utility]
options = { real_batch = 6 }
network_options = { width = 4, depth = 1 }
[joint]
iterations = 5
checkpoint_interval = 2
report_interval = 1
lmbda = [2, 1]
[export]
target_bpc = "none"
thresholds = [1e-2]
"""
# A loss of the user's own, interrupted in iteration 3 as long as its file lies there.
INTERRUPTED = """
from pathlib import Path
from rducodec.training.utility.distribution import DistributionMatching
class Loss(DistributionMatching):
    def gradient(self, samples, labels, **keywords):
        flag = Path(__file__).with_name("interrupt")
        if keywords["iteration"] == 3 and flag.exists():
            flag.unlink()
            raise KeyboardInterrupt
        return super().gradient(samples, labels, **keywords)
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_list_has_every_configuration():
    outcome = run("train", "--list")
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == configuration_names()
    assert "TM" not in lines[0]
    (line,) = [line for line in lines if line.split()[0] == "cifar10-tm-64"]
    assert line.split()[:7] == ["cifar10-tm-64", "cifar10", "tm", "64", "v4-480", "16x4", "13.0"]
    rows = run("train", "--list", "--json").json
    assert [row["name"] for row in rows] == configuration_names()
    pixels = next(row for row in rows if row["name"] == "digits-pixels")
    assert (pixels["decoder"], pixels["target"]) == (None, None)


def test_show_is_a_file_of_the_same_configuration(tmp_path):
    outcome = run("train", "digits", "--show", "--set", "samples.decoder=12", "--iterations", "7", "--experts", "1e5")
    assert outcome.code == 0, outcome
    path = tmp_path / "shown.toml"
    path.write_text(outcome.out)
    overrides = ["samples.decoder=12", "joint.iterations=7", "utility.options.experts='1e5'"]
    assert read_configuration(path) == read_configuration("digits", overrides)
    fields = run("train", "digits", "--show", "--json", "--target-bpc", "0.7", "--seed", "9").json
    assert (fields["export"]["target_bpc"], fields["seed"]) == (0.7, 9)


def test_from_images_to_a_file(tmp_path, tiny):
    images, labels = load_digits()
    rows = labels < 2
    part = {"x": images[rows].astype(np.float32), "y": labels[rows].astype(np.int64)}
    data = tmp_path / "own.npz"
    arrays = {f"{key}_{name}": value for name in ("train", "test") for key, value in part.items()}
    np.savez(data, **arrays)  # type: ignore[arg-type]
    own = ("--root", data, "--set", "data.name=npz", "--set", "data.classes=[]")
    outcome = run("train", tiny, tmp_path / "run", *own)
    assert outcome.code == 0, outcome
    file = tmp_path / "run" / "distilled.rdd"
    assert rducodec.read(file).samples().shape == (4, 1, 8, 8)
    assert f"{file.stat().st_size / 2:,.1f} bytes per class" in outcome.out
    assert "quantised at 0.01" in outcome.out
    assert "overfitted.rdd" in outcome.out
    said = [line for line in outcome.err.splitlines() if line.startswith("> ")]
    assert len(said) == 3
    command = shlex.split(outcome.out.splitlines()[-1].partition("next: ")[2])
    assert command[:7] == ["rdd", "eval", str(file), "--data", "npz", "--root", str(data)]
    evaluated = run(*command[1:], "--networks", "1", "--epochs", "1")
    assert evaluated.code == 0, evaluated


def test_json_and_log_lines(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_INTERVAL_S", 0.0)
    monkeypatch.setattr(progress_module, "PATIENCE_S", 0.0)
    outcome = run("train", tiny, tmp_path / "run", "--json", "--seed", "3")
    assert outcome.code == 0, outcome
    file = tmp_path / "run" / "distilled.rdd"
    found = outcome.json
    assert found["file_bits"] == 8 * file.stat().st_size
    assert (found["threshold"], found["overfitted"]) == (1e-2, str(tmp_path / "run" / "overfitted.rdd"))
    assert 0 <= found["mse"] < 1
    assert found["next"][:7] == ["rdd", "eval", str(file), "--data", "digits", "--classes", "1,0"]
    evaluated = run(*found["next"][1:], "--networks", "1", "--epochs", "1")
    assert evaluated.code == 0, evaluated
    lines = [line for line in outcome.err.splitlines() if line.startswith("distilling: ")]
    assert lines[0].startswith("distilling: 20 % 1/5  loss ")
    assert "kB/class  lmbda 2" in lines[0]
    assert lines[-1].startswith("distilling: 100 % 5/5  loss ")
    assert "lmbda 1" in lines[-1]
    assert lines[-1].endswith(" left")


def test_an_interrupted_training_goes_on_to_the_same_file(tmp_path, tiny):
    (tmp_path / "own.py").write_text(INTERRUPTED)
    flag = tmp_path / "interrupt"
    arguments = ("--set", f"utility.loss={tmp_path / 'own.py'}:Loss", "--set", "utility.options.real_batch=6")
    whole = run("train", tiny, tmp_path / "whole", *arguments)
    assert whole.code == 0, whole
    flag.touch()
    stopped = run("train", tiny, tmp_path / "run", *arguments)
    assert stopped.code == 130
    assert f"note: the same command goes on from the last state in {tmp_path / 'run'}" in stopped.err
    assert stopped.err.endswith("error: interrupted\n")
    assert not (tmp_path / "run" / "distilled.rdd").exists()
    resumed = run("train", tiny, tmp_path / "run", *arguments)
    assert resumed.code == 0, resumed
    assert "compressing" not in resumed.err
    files = [tmp_path / name / "distilled.rdd" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    message = refused(7, "train", tiny, tmp_path / "run", *arguments, "--seed", "1")
    assert "holds a run of another configuration (different: seed), or of another version" in message


def test_a_size_that_is_not_used_is_told(tmp_path, tiny):
    outcome = run("train", tiny, tmp_path / "run", "--json", "--target-bpc", "5", "--set", "joint.lmbda=[]")
    assert outcome.code == 0, outcome
    used = outcome.json["share_of_target"]
    assert used == (tmp_path / "run" / "distilled.rdd").stat().st_size / (5 * 2048)
    assert f"note: the file takes {used:.0%} of the size that export.target_bpc allows" in outcome.err
    assert run("train", tiny, tmp_path / "open", "--json").json["share_of_target"] is None


def test_wrong_names_keys_and_values(tmp_path):
    folder = tmp_path / "run"
    assert "no such name, perhaps digits" in refused(7, "train", "digit", folder)
    assert refused(6, "train", tmp_path / "no.toml", folder).endswith("No such file or directory")
    key = refused(7, "train", "digits", folder, "--set", "joint.iteration=4")
    assert "unknown key joint.iteration, perhaps iterations" in key
    assert "joint.iterations is 'many'" in refused(7, "train", "digits", folder, "--set", "joint.iterations=many")
    assert "expected key.name=value" in refused(7, "train", "digits", folder, "--set", "iterations")
    assert "protocol 'best'" in refused(7, "train", "digits", folder, "--set", "evaluation.protocol=best")
    assert "no option 'fast'" in refused(7, "train", "digits", folder, "--set", "utility.options.fast=1")
    assert "export.target_bpc: -1.0" in refused(7, "train", "digits", folder, "--target-bpc", "-1")
    assert not folder.exists()


def test_what_cannot_be_is_refused_before_it_starts(tmp_path):
    folder = tmp_path / "run"
    own = ("--set", "samples.networks=slice")
    for budget in ("0.001", "0.05"):  # less than the header, less than the networks
        refused(7, "train", "digits", folder, "--target-bpc", budget, *own)
    assert "--root PATH" in refused(7, "train", "cifar10-dm-64", folder)
    assert "nowhere" in refused(7, "train", "cifar10-dm-64", folder, "--root", tmp_path / "nowhere")
    assert "--device" in refused(2, "train", "digits", folder, "--device", "abacus")
    assert not folder.exists()


def test_usage(tmp_path):
    folder = tmp_path / "run"
    assert "Missing CONFIG; --list" in refused(2, "train")
    assert "Missing CONFIG; --list" in refused(2, "train", "--show")
    assert "Missing FOLDER" in refused(2, "train", "digits")
    assert "--list takes no CONFIG" in refused(2, "train", "digits", "--list")
    assert "--show takes no FOLDER" in refused(2, "train", "digits", folder, "--show")
    assert "different things" in refused(2, "train", "--list", "--show")
    assert "--experts has no meaning with the loss dm" in refused(2, "train", "digits", folder, "--experts", folder)
    assert "`rdd experts digits-tm EXPERTS` trains them" in refused(2, "train", "digits-tm", folder)


def test_packages_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    message = refused(4, "train", "digits", tmp_path / "run", "--tensorboard")
    assert "pip install tensorboard" in message
    for module in [name for name in sys.modules if name.startswith("rducodec.training")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "rducodec[train]" in refused(4, "train", "digits", tmp_path / "run")
    assert "rducodec[train]" in refused(4, "train", "--list")


def test_the_command_starts_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import rducodec_cli.main; print('rducodec.training' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_time_left_follows_the_pace_of_this_process(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    shown = []

    class Reporter:
        def __init__(self, *arguments, show_eta):
            self._detail = arguments[-1]
            assert not show_eta

        def advance(self, _):
            shown.append(self._detail())

        def close(self):
            pass

    monkeypatch.setattr(progress_module, "_Reporter", Reporter)
    with progress_module.resumable_progress("x") as told:
        for seconds, share in ((0.2, 0.25), (0.4, 0.5), (10.4, 0.6), (20.4, 0.75)):
            now[0] = seconds
            told(share, f"{share}")
    # Half of the work was there after 0.4 s; from then on, a tenth took 10 s, and a quarter 20 s.
    assert shown == ["0.25", "0.5", "0.6  0:40 left", "0.75  0:20 left"]
