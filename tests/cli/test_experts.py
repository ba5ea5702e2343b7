"""`rdd experts` on two classes of the embedded digits, and the training that follows them."""

from __future__ import annotations

import shlex
import shutil
import statistics
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.cli.command import refused, run

pytest.importorskip("torch")

from rducodec.training.distillation import read_configuration
from rducodec.training.experts import ExpertStore, train
from rducodec_cli import experts as experts_module

TINY = """
base = "digits-tm"
[data]
classes = [1, 0]
[samples]
spc = 2
decoder = "4"
[initial]
steps = 10
[utility]
options = { student_steps = 2, max_start_epoch = 2 }
network_options = { width = 4, depth = 1 }
[joint]
iterations = 2
lmbda = [2, 1]
[export]
target_bpc = "none"
thresholds = [1e-2]
[experts]
num_experts = 3
epochs = 2
batched = 2
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_experts_and_the_training_that_follows_them(tmp_path, tiny):
    folder = tmp_path / "experts"
    outcome = run("experts", tiny, folder)
    assert outcome.code == 0, outcome
    assert "training 3 experts for 2 epochs" in outcome.err
    store = ExpertStore.open(folder)
    assert (store.num_experts, store.num_epochs, store.num_classes) == (3, 2, 2)
    assert (store.settings.batched, store.settings.batch_size) == (2, 64)  # the second one of digits-tm
    assert store.settings.network_options == {"width": 4, "depth": 1}
    assert store.settings.augmentation == "crop_scale_rotate"
    assert store.data["space"]["kind"] == "standardised"
    assert "3 experts, 2 epochs" in outcome.out
    assert store.test_accuracy is not None
    mean, deviation = 100 * sum(store.test_accuracy) / 3, 100 * statistics.stdev(store.test_accuracy)
    assert f"after the last epoch: {mean:.1f} ± {deviation:.1f} %" in outcome.out
    command = shlex.split(outcome.out.splitlines()[-1].partition("next: ")[2])
    assert command[:4] == ["rdd", "train", str(tiny), "FOLDER"]
    followed = run("train", tiny, tmp_path / "run", *command[4:])
    assert followed.code == 0, followed
    assert (tmp_path / "run" / "distilled.rdd").exists()


def test_the_deviation_is_that_of_a_sample_as_in_an_evaluation(capsys):
    store = Mock(folder="experts", num_experts=3, num_epochs=2, test_accuracy=(0.5, 0.6, 0.7))
    experts_module._report(store, ["rdd", "train"], as_json=False)
    assert "60.0 ± 10.0 %" in capsys.readouterr().out  # 8.2 by n instead of n - 1


def test_an_interrupted_training_goes_on_to_the_same_files(tmp_path, tiny, monkeypatch):
    assert run("experts", tiny, tmp_path / "whole").code == 0
    original, calls = train._Training._epoch, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:  # the last epoch of the second group
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(train._Training, "_epoch", interrupted)
        stopped = run("experts", tiny, tmp_path / "experts")
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    resumed = run("experts", tiny, tmp_path / "experts", "--json")
    assert resumed.code == 0, resumed
    assert resumed.json["num_experts"] == 3
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "experts").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "experts" / name).read_bytes()
    assert "of a training with other settings" in refused_last("experts", tiny, tmp_path / "experts", "--epochs", "3")


def refused_last(*arguments: object) -> str:
    """The last line of a command that fails after it has said what it does."""
    outcome = run(*arguments)
    assert outcome.code == 7, outcome
    return outcome.err.splitlines()[-1]


def test_options_stand_for_values_and_the_next_command_repeats_them(tmp_path, tiny):
    folder = tmp_path / "experts"
    given = ("--num-experts", "1", "--epochs", "1", "--batched", "1", "--seed", "4")
    # Experts for a configuration of another loss: the next command says which.
    outcome = run("experts", tiny, folder, *given, "--set", "utility.loss=dm", "--json")
    assert outcome.code == 0, outcome
    settings = ExpertStore.open(folder).settings
    assert (settings.num_experts, settings.epochs, settings.batched, settings.seed) == (1, 1, 1, 4)
    command = ["rdd", "train", str(tiny), "FOLDER", "--set", "utility.loss=dm", "--set", "utility.loss=tm"]
    assert outcome.json["next"] == [*command, "--experts", str(folder), "--seed", "4", "--device", "cpu"]


def test_what_is_refused(tmp_path, tiny):
    folder = tmp_path / "experts"
    assert "Missing argument 'CONFIG'" in refused(2, "experts")
    assert "--epochs" in refused(2, "experts", tiny, folder, "--epochs", "0")
    assert "root" in refused(7, "experts", "cifar10-tm-64", folder)
    assert "setting learning_rate" in refused(7, "experts", tiny, folder, "--set", "experts.learning_rate=-1")
    assert "unknown key experts.epoch" in refused(7, "experts", tiny, folder, "--set", "experts.epoch=1")


def test_trajectories_that_do_not_fit_the_disk_are_refused(tmp_path, tiny, monkeypatch):
    folder = tmp_path / "experts"
    settings = experts_module._settings(read_configuration(str(tiny)))
    needed = experts_module.num_bytes(settings, shape=(1, 8, 8), num_classes=2)
    full = type("Usage", (), {"free": needed - 1})
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: full)
        message = refused(7, "experts", tiny, folder)
        assert f"{needed - 1} bytes free, trajectories need about {needed} bytes; " in message
        assert message.endswith("choose another folder, fewer experts or fewer epochs")
        assert not folder.exists()
    assert run("experts", tiny, folder).code == 0
    there = sum(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": needed - there}))
    assert run("experts", tiny, folder).code == 0  # what is there takes no room again
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": needed - there - 1}))
    assert f"need about {needed - there} bytes more" in refused(7, "experts", tiny, folder)


def test_bytes_are_those_of_the_files(tmp_path, tiny):
    assert run("experts", tiny, tmp_path, "--num-experts", "2", "--batched", "1").code == 0
    settings = ExpertStore.open(tmp_path).settings
    expected = experts_module.num_bytes(settings, shape=(1, 8, 8), num_classes=2)
    found = sum(path.stat().st_size for path in tmp_path.glob("experts-*.safetensors"))
    headers = 4096  # more than the headers of two files
    assert found < expected * 2 / 3 + headers  # the third part is what one group takes while it is put together
    assert found > expected * 2 / 3


def test_without_torch(tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("rducodec.training")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "rducodec[train]" in refused(4, "experts", "digits-tm", tmp_path / "experts")
