"""Whole runs on digits: resumed bit for bit, within the budget, refused in time, with what the file says of itself."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rducodec.bitstream.header import Texts
from rducodec.errors import RddInputError
from rducodec.reader import read
from rducodec.training.checkpoint import read_checkpoint, write_checkpoint
from rducodec.training.data import LabelledImages
from rducodec.training.distillation import run as run_module
from rducodec.training.distillation.folder import (
    DISTILLED,
    INITIAL_CHECKPOINT,
    JOINT_CHECKPOINT,
    LOG_FILE,
    OVERFITTED,
    RUN_FILE,
)
from rducodec.training.distillation.run import Distillation, Reports
from rducodec.training.distillation.trainer import JointProgress
from rducodec.training.experts import ExpertSettings, train_experts
from rducodec.training.utility.distribution import DistributionMatching
from tests.training.distillation.small import CPU, configuration, digits, distil, environment

REPOSITORY = Path(__file__).parents[3]
SOFT: dict[str, Any] = {"samples__soft_labels": True}
GM: dict[str, Any] = {
    "utility__loss": "gm",
    "utility__options": {"real_batch": 6, "inner_steps": 4, "network_steps": 2},
}
PIXELS: dict[str, Any] = {"samples__parameterization": "pixels"}
BUDGET: dict[str, Any] = {"export__target_bpc": 0.25, "joint__lmbda": []}
COUNTED: dict[str, Any] = BUDGET | {"joint__iterations": 24}  # sizes are counted every 10 iterations


class _InterruptedError(Exception):
    pass


def interrupted(folder: Path, iteration: int, **changes: Any) -> None:
    def stop(progress: JointProgress) -> None:
        if progress.iteration == iteration:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        distil(folder, reports=Reports(joint=stop), **changes)


@pytest.mark.parametrize(
    ("changes", "iteration"),
    [
        pytest.param(COUNTED, 17, id="latent, dm, a size held"),
        pytest.param(GM | SOFT, 4, id="latent, gm, soft labels"),
        pytest.param(PIXELS | GM, 4, id="pixels, gm"),
    ],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    changes: dict[str, Any], iteration: int, tmp_path: Path
) -> None:
    """Stopped in an iteration before it is saved: it is done again."""
    expected = distil(tmp_path / "whole", **changes).exported.data
    interrupted(tmp_path / "stopped", iteration, **changes)
    assert distil(tmp_path / "stopped", **changes).exported.data == expected
    assert (tmp_path / "stopped" / DISTILLED).read_bytes() == expected
    logs = [(tmp_path / name / LOG_FILE).read_text().splitlines() for name in ("whole", "stopped")]
    numbers = [[line.rsplit(",", 1)[0] for line in log] for log in logs]  # but for seconds
    assert numbers[0] == numbers[1]


def test_a_run_that_was_stopped_in_every_part_ends_as_one_that_was_not(tmp_path: Path) -> None:
    changes = BUDGET | {"initial__steps": 150, "export__target_bpc": 0.4}  # a checkpoint after 100
    iterations = configuration().joint.iterations
    expected = distil(tmp_path / "whole", **changes).exported.data
    stops: list[Any] = []

    def stop(state: Any) -> None:
        if stops and stops[0](state):
            stops.pop(0)
            raise _InterruptedError

    places: dict[str, list[Any]] = {
        "initial": [lambda state: state.step >= 120, lambda state: state.step >= 140],
        "joint": [lambda state, at=at: state.iteration == at for at in (1, iterations // 2, iterations)],
        "export": [lambda _: True],
    }
    for part, conditions in places.items():
        for condition in conditions:
            stops.append(condition)
            with pytest.raises(_InterruptedError):
                distil(tmp_path / "stopped", reports=Reports(**{part: stop}), **changes)
    assert distil(tmp_path / "stopped", **changes).exported.data == expected


def trained_experts(folder: Path, *, seed: int) -> Path:
    shared = Distillation(configuration(), digits(2), folder / "none", CPU)
    network = {"width": 4, "depth": 1}
    settings = ExpertSettings(num_experts=2, epochs=2, batch_size=64, batched=2, network_options=network, seed=seed)
    train_experts(
        shared.utility.context.real,  # type: ignore[attr-defined]
        num_classes=2,
        shape=(1, 8, 8),
        settings=settings,
        folder=folder,
        device=CPU,
    )
    return folder


def following(experts: Path) -> dict[str, Any]:
    options = {"student_steps": 2, "expert_epochs": 1, "max_start_epoch": 1, "lr_lr": 1e-3, "experts": str(experts)}
    return SOFT | PIXELS | {"utility__loss": "tm", "utility__options": options}


def test_trajectory_matching_of_latents_continues(tmp_path: Path) -> None:
    changes = following(trained_experts(tmp_path / "experts", seed=0))
    changes |= {"samples__soft_labels": False, "samples__parameterization": "latent"}
    changes |= {"export__target_bpc": 0.4, "joint__lmbda": []}
    expected = distil(tmp_path / "whole", **changes)
    interrupted(tmp_path / "stopped", 3, **changes)
    assert distil(tmp_path / "stopped", **changes).exported.data == expected.exported.data


def test_trajectory_matching_continues_with_its_learned_rate(tmp_path: Path) -> None:
    """And with the same experts, wherever they lie."""
    experts = trained_experts(tmp_path / "experts", seed=0)
    expected = distil(tmp_path / "whole", **following(experts))
    interrupted(tmp_path / "stopped", 4, **following(experts))
    other = trained_experts(tmp_path / "other", seed=1)
    with pytest.raises(RddInputError, match="holds a run of another configuration"):
        distil(tmp_path / "stopped", **following(other))
    (path,) = experts.glob("*.safetensors")
    kept, (tensors, fields) = path.read_bytes(), read_checkpoint(path)
    tensors["blocks.0.weight"][1, 2] *= 1.5  # the last epoch of one of them
    write_checkpoint(path, tensors, fields)
    with pytest.raises(RddInputError, match="holds a run of other data, or of another version"):
        distil(tmp_path / "stopped", **following(experts))
    path.write_bytes(kept)
    moved = experts.rename(tmp_path / "moved")
    assert distil(tmp_path / "stopped", **following(moved)).exported.data == expected.exported.data
    rate = read(expected.file).header.texts.recipe["lr"]
    assert isinstance(rate, float)
    assert rate != 0.01


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.training.distillation.small", *arguments]


def test_a_killed_process_is_continued(tmp_path: Path) -> None:
    killed = subprocess.run(command(str(tmp_path / "killed"), "4"), cwd=REPOSITORY, env=environment(), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / JOINT_CHECKPOINT).exists()
    data = distil(tmp_path / "killed").exported.data
    assert data == distil(tmp_path / "whole").exported.data


def test_a_finished_run_is_only_written_again(tmp_path: Path) -> None:
    seen: list[JointProgress] = []
    first = distil(tmp_path, **PIXELS).exported.data
    (tmp_path / DISTILLED).unlink()
    assert distil(tmp_path, reports=Reports(joint=seen.append), **PIXELS).file.read_bytes() == first
    assert not seen


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    done = distil(tmp_path, utility__network_options={"width": 2, "depth": 1})
    dataset = read(done.file)
    texts = dataset.header.texts
    assert texts.recipe == {
        "loss": "dm",
        "net": "convnet",
        "width": 2,
        "depth": 1,
        "augment": "crop_scale_rotate",
        "seed": 0,
    }
    assert (texts.source, texts.class_ids) == ("digits train", ())
    assert dataset.header.texts.class_names == digits(2).train.class_names
    assert dataset.header.space is not None
    assert dataset.header.space.kind == "standardised"
    np.testing.assert_allclose(dataset.header.space.mean[0], digits(2).train.pixels().mean(), rtol=1e-5)
    np.testing.assert_array_equal(dataset.labels, np.repeat([0, 1], 3))
    dataset.samples()  # compared with the digest of the file
    assert done.overfitted is not None
    assert read(done.overfitted).samples().shape == dataset.samples().shape == (6, 1, 8, 8)
    assert read(done.overfitted).header.texts == Texts(class_names=dataset.header.texts.class_names)
    assert not np.array_equal(read(done.overfitted).samples(), dataset.samples())
    assert json.loads((tmp_path / RUN_FILE).read_text())["configuration"]["utility"]["loss"] == "dm"


def test_classes_may_share_networks(tmp_path: Path) -> None:
    done = distil(tmp_path, samples__networks="file")
    dataset = read(done.file)
    assert dataset.header.slice_sizes == (2, 1, 2, 1)
    first, *others = dataset.latent_slices()
    for part in others:
        assert all(np.array_equal(a.values, b.values) for a, b in zip(first.tensors(), part.tensors(), strict=True))
    assert len(done.exported.data) < len(distil(tmp_path / "own").exported.data)
    np.testing.assert_array_equal(dataset.labels, np.repeat([0, 1], 3))


def test_a_file_is_within_its_budget(tmp_path: Path) -> None:
    done = distil(tmp_path, export__target_bpc=0.26, joint__lmbda=[])
    assert len(done.exported.data) <= 0.26 * 2048


def test_a_file_is_within_its_budget_where_no_networks_are_as_fine_as_asked(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"export__target_bpc": 0.26, "joint__lmbda": [], "export__thresholds": [1e-13, 1e-3]}
    done = distil(tmp_path, **changes)
    assert done.exported.max_mse > 1e-13
    assert 0.9 * 0.26 * 2048 <= len(done.exported.data) <= 0.26 * 2048


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [0.2, 0.4])
def test_a_file_uses_its_budget(kilobytes: float, tmp_path: Path) -> None:
    done = distil(
        tmp_path,
        num_classes=10,
        samples__spc=12,
        samples__slice_size=12,
        initial__steps=150,
        initial__lmbda=0.2,
        joint__iterations=120,
        joint__checkpoint_interval=1000,
        joint__lmbda=[],
        export__thresholds=[1e-4, 1e-3, 1e-2],
        export__target_bpc=kilobytes,
    )
    assert 0.98 * kilobytes * 10240 <= len(done.exported.data) <= kilobytes * 10240


@pytest.mark.parametrize(
    ("number", "error"), [("float32", 0), ("float16", 1e-7), ("8 bits", 1e-6), ("4 bits", 1e-2), ("2 bits", 0.2)]
)
def test_pixels_are_stored_as_asked(number: str, error: float, tmp_path: Path) -> None:
    done = distil(tmp_path, **PIXELS, joint__lmbda=[], export__number=number)
    assert done.overfitted is None
    samples = read(done.file).samples()
    assert samples.shape == (6, 1, 8, 8)
    assert done.exported.mse <= error
    assert (done.exported.mse == 0) == (number == "float32")
    if number.endswith("bits"):
        levels = 2 ** int(number.split()[0])
        assert len(np.unique(samples[:3])) <= levels  # of a class
    state, _ = read_checkpoint(tmp_path / JOINT_CHECKPOINT)
    assert np.square(samples - state["representation/values"].numpy()).mean() == pytest.approx(done.exported.mse)


def test_a_finished_run_is_stored_in_another_way(tmp_path: Path) -> None:
    seen: list[JointProgress] = []
    floats = distil(tmp_path, **PIXELS, export__number="float32")
    levels = distil(tmp_path, **PIXELS, export__number="8 bits", reports=Reports(joint=seen.append))
    assert not seen
    assert len(levels.exported.data) < len(floats.exported.data)


def test_the_original_classes_are_told(tmp_path: Path) -> None:
    done = distil(tmp_path, num_classes=10, **PIXELS, data__classes=[7, 3])
    texts = read(done.file).header.texts
    assert (texts.class_ids, texts.class_names) == ((7, 3), ("7", "3"))


def test_the_first_threshold_that_networks_keep_is_taken(tmp_path: Path) -> None:
    done = distil(tmp_path, export__thresholds=[1e-15, 1e-2, 1e-3])
    assert done.exported.max_mse == 1e-2


def test_learned_labels_are_kept(tmp_path: Path) -> None:
    done = distil(tmp_path, **PIXELS, **GM, **SOFT, samples__label_error=2.0**-10)
    dataset = read(done.file)
    np.testing.assert_array_equal(dataset.labels, np.repeat([0, 1], 3))
    state, _ = read_checkpoint(tmp_path / JOINT_CHECKPOINT)
    learned = state["labels/logits"].softmax(1).numpy()
    assert np.ptp(learned[:3, 0]) > 0  # they did move, each by itself
    assert dataset.soft_labels is not None
    assert np.abs(dataset.soft_labels - learned).max() <= 2.0**-10


def test_learned_labels_count_against_the_size(tmp_path: Path) -> None:
    done = distil(tmp_path, **GM, **SOFT, export__target_bpc=0.5)
    assert read(done.file).soft_labels is not None
    assert len(done.exported.data) <= 0.5 * 1024 * 2


OWN_LOSS = """
import torch
from rducodec.training.utility import UtilityGradient

class Brighter:
    def __init__(self, context, *, aim):
        self.aim, self.count = aim, torch.zeros(())

    def gradient(self, samples, labels, *, iteration, label_logits=None):
        self.count += 1
        difference = samples - self.aim
        return UtilityGradient(float(difference.square().sum()), 2 * difference)

    def state(self):
        return {"count": self.count}

    def load_state(self, state):
        self.count = state["count"].clone()

    def recipe(self):
        return {"steps": float(self.count)}
"""


def test_a_loss_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN_LOSS)
    changes: dict[str, Any] = {
        "utility__loss": f"{file}:Brighter",
        "utility__options": {"aim": 5.0},
        "joint__learning_rate": 0.1,
    } | PIXELS
    done = distil(tmp_path / "run", **changes)
    recipe = read(done.file).header.texts.recipe
    assert recipe["loss"] == "own.py:Brighter", "the author's folders are nobody's business"
    assert recipe["steps"] == 6, "the trial before the first iteration does not count"
    assert read(done.file).samples().mean() > 0.3, "standardised images have a mean of about 0"


def changed(images: np.ndarray | None = None, labels: np.ndarray | None = None) -> LabelledImages:
    train = digits(2).train
    return LabelledImages(
        train.images if images is None else images, train.labels if labels is None else labels, train.class_names
    )


def with_nan() -> np.ndarray:
    images = digits(2).train.pixels().copy()
    images[7, 0, 2, 3] = np.nan
    return images


@pytest.mark.parametrize(
    ("train", "changes", "message"),
    [
        (changed(), {"samples__spc": 500}, "set spc to at most"),
        (changed(images=with_nan()), {}, "image 7 .* remove or repair"),
        (changed(labels=digits(2).train.labels + 1), {}, "expected 0..1"),
        (changed(), {"export__target_bpc": 0.01}, "header, labels and framing"),
        (changed(), {"export__target_bpc": 0.13}, "smaller samples.decoder"),
        (changed(), {"utility__loss": "mm"}, "dm, gm, tm"),
        (changed(), {"utility__options": {"batch": 3}}, "no option 'batch'"),
        (changed(), {"utility__network": "convnett"}, "convnett"),
        (changed(), {"utility__augmentation": "blur"}, "blur"),
        (changed(), SOFT, "learns no labels"),
        (changed(), PIXELS | {"export__target_bpc": 0.5}, "export.target_bpc"),
        (changed(), PIXELS | {"export__number": "float8"}, "export.number"),
        (changed(), {"export__number": "float16"}, "export.number: 'float16', but latents are integers"),
        (changed(), {"data__classes": [0, 0]}, "data.classes"),
        (changed(), {"data__classes": [1, 0]}, r"data.classes: \[1, 0\], but the data has all: load_data"),
        (changed().of_classes([1]), GM | SOFT, "soft_labels: there is one class"),
        (changed(), GM | SOFT | {"samples__label_error": 1e-9}, "label_error: label error 1e-09: at least "),
        (changed(), GM | SOFT | {"samples__label_error": 2.0}, "label_error: 2.0, expected a number between 0 and 1"),
    ],
    ids=[
        "few images",
        "nan",
        "labels",
        "header",
        "networks",
        "loss",
        "option",
        "network",
        "augmentation",
        "labels of dm",
        "size of pixels",
        "number",
        "number of latents",
        "classes",
        "data of other classes",
        "labels of one class",
        "labels too exact",
        "labels of no use",
    ],
)
def test_wrong_input_is_refused_before_anything_is_made(
    train: LabelledImages, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(RddInputError, match=message):
        Distillation(configuration(**changes), replace(digits(2), train=train), folder, CPU).run()
    assert not folder.exists()


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    with pytest.raises(RddInputError, match=r"1000 bytes free.*choose another folder"):
        distil(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{}, PIXELS, GM | SOFT, {"data__space": "zca"}])
def test_room_is_asked_for_what_a_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(run_module, "check_room", lambda _, **given: asked.append(given["num_bytes"]))
    largest = [0]

    def look(_: object) -> None:
        sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
        fixed = sizes.pop(run_module.ZCA_FILE, 0)
        states = [size for name, size in sizes.items() if name.endswith(".safetensors")]
        largest[0] = max(largest[0], fixed + 2 * max(states, default=0))  # a new one comes before the old one goes

    many = {
        "initial__steps": 150,
        "samples__spc": 100,
        "samples__slice_size": 100,
    }  # beside them headers and the utility's network are small
    distil(tmp_path, reports=Reports(initial=look, joint=look), **many | changes)
    assert 0.9 * largest[0] < asked[0] < 1.3 * largest[0]
    assert not (tmp_path / INITIAL_CHECKPOINT).exists(), "nobody needs it any more"


def test_a_size_that_needs_coarser_networks_is_met(tmp_path: Path) -> None:
    done = distil(tmp_path, **BUDGET | {"export__target_bpc": 0.22})
    for data in (done.exported.data, (tmp_path / OVERFITTED).read_bytes()):
        assert len(data) <= 0.22 * 1024 * 2


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    interrupted(tmp_path, 2, **PIXELS)
    kept = (tmp_path / JOINT_CHECKPOINT).read_bytes()
    with pytest.raises(RddInputError, match=r"another configuration.*choose another folder"):
        distil(tmp_path, **PIXELS, joint__iterations=7)
    with pytest.raises(RddInputError, match="other data, or of another version"):
        distil(tmp_path, num_classes=3, **PIXELS)
    (tmp_path / RUN_FILE).write_text("{")
    with pytest.raises(RddInputError, match="damaged"):
        distil(tmp_path, **PIXELS)
    (tmp_path / RUN_FILE).unlink()
    with pytest.raises(RddInputError, match=r"no run\.json says"):
        distil(tmp_path, **PIXELS)
    assert (tmp_path / JOINT_CHECKPOINT).read_bytes() == kept


@pytest.mark.parametrize("name", ["representation/values", "representation/beta2", "an unknown part"])
def test_a_checkpoint_of_another_version_is_refused(name: str, tmp_path: Path) -> None:
    interrupted(tmp_path, 2, **PIXELS)
    path = tmp_path / JOINT_CHECKPOINT
    tensors, fields = read_checkpoint(path)
    if name in tensors:
        del tensors[name]
    else:
        tensors["moments/values"] = tensors["representation/values"].clone()
    write_checkpoint(path, tensors, fields)
    kept = path.read_bytes()
    with pytest.raises(RddInputError, match=r"not as this version writes it.*another folder"):
        distil(tmp_path, **PIXELS)
    assert path.read_bytes() == kept


def test_what_differs_is_told_without_what_does_not_matter(tmp_path: Path) -> None:
    interrupted(tmp_path, 2, **PIXELS)
    with pytest.raises(RddInputError, match=r"another configuration \(different: samples\.spc\), or of another"):
        distil(tmp_path, **PIXELS, samples__spc=2, joint__report_interval=3, export__number="8 bits")
    with pytest.raises(RddInputError, match="holds a run of other data, or of another version"):
        Distillation(configuration(**PIXELS, joint__report_interval=3), digits(3), tmp_path, CPU).run()


def test_reporting_more_often_is_no_other_run(tmp_path: Path) -> None:
    interrupted(tmp_path, 2, **PIXELS)
    distil(tmp_path, **PIXELS, joint__report_interval=2, joint__checkpoint_interval=3)


def test_a_loss_that_diverges_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = DistributionMatching.gradient

    def gradient(self: Any, samples: Any, labels: Any, *, iteration: int, **rest: Any) -> Any:
        result = good(self, samples, labels, iteration=iteration, **rest)
        return replace(result, samples=result.samples * torch.nan) if iteration == 3 else result

    monkeypatch.setattr(DistributionMatching, "gradient", gradient)
    with pytest.raises(RddInputError, match=r"iteration 3.*smaller joint.learning_rate"):
        distil(tmp_path, **PIXELS)
    monkeypatch.undo()
    assert distil(tmp_path, **PIXELS).exported.data == distil(tmp_path / "whole", **PIXELS).exported.data, (
        "the checkpoint is sound"
    )
