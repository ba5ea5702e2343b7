"""Stored trajectories: what is read, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rducodec.errors import RddInputError
from rducodec.training.experts import ExpertStore
from tests.training.experts.tiny import NUM_CLASSES, SHAPE, settings, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    train(folder, data_name="noise")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "experts"))


def test_a_store_says_how_it_was_made(trained: Path) -> None:
    store = ExpertStore.open(trained)
    assert store.settings == settings()
    assert (store.num_experts, store.num_epochs) == (5, 3)
    assert (store.shape, store.num_classes) == (SHAPE, NUM_CLASSES)
    assert store.data["name"] == "noise"
    assert store.data["space"]["kind"] == "pixels"
    assert store.test_accuracy is None


def test_files_are_plain_safetensors(trained: Path) -> None:
    store = ExpertStore.open(trained)
    for group, count in enumerate((2, 2, 1)):
        tensors = load_file(trained / f"experts-{group:05}.safetensors")
        for row in range(count):
            for epoch in range(4):
                parameters = store.parameters(2 * group + row, epoch)
                assert parameters.keys() == tensors.keys()
                for name, value in tensors.items():
                    assert value.shape[:2] == (count, 4)
                    assert torch.equal(parameters[name], value[row, epoch])
    assert not any("epoch" in path.name for path in trained.iterdir())


@pytest.mark.parametrize(("expert", "epoch"), [(5, 0), (-1, 0), (0, 4), (0, -1)])
def test_experts_and_epochs_that_are_not_there(trained: Path, expert: int, epoch: int) -> None:
    with pytest.raises(RddInputError, match=r"expected experts 0\.\.4 and epochs 0\.\.3"):
        ExpertStore.open(trained).parameters(expert, epoch)


def test_folders_without_experts(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RddInputError, match=r"no file experts-NNNNN\.safetensors; `rdd experts`"):
            ExpertStore.open(folder)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_missing_files_are_named(folder: Path, group: int) -> None:
    (folder / f"experts-{group:05}.safetensors").unlink()
    with pytest.raises(RddInputError, match=rf"experts-{group:05}\.safetensors missing; the same `rdd experts`"):
        ExpertStore.open(folder)


def test_a_file_too_many_is_named(folder: Path) -> None:
    shutil.copy(folder / "experts-00001.safetensors", folder / "experts-00003.safetensors")
    with pytest.raises(RddInputError, match=r"experts-00003\.safetensors: one file too many"):
        ExpertStore.open(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_damaged_files_are_named(folder: Path, kept: float) -> None:
    path = folder / "experts-00001.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(RddInputError, match=r"experts-00001\.safetensors: damaged"):
        ExpertStore.open(folder)


def test_trainings_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    train(tmp_path / "other", settings(seed=1))
    shutil.copy(tmp_path / "other" / "experts-00002.safetensors", folder)
    with pytest.raises(RddInputError, match=r"experts-00002\.safetensors: of another training"):
        ExpertStore.open(folder)


@pytest.mark.parametrize("metadata", [None, {"other": "1"}, {"rducodec": "[]"}, {"rducodec": "{}"}])
def test_files_of_others_are_refused(folder: Path, metadata: dict | None) -> None:
    for path in folder.iterdir():
        save_file(load_file(path), path, metadata)
    with pytest.raises(RddInputError, match="not written by"):
        ExpertStore.open(folder)


def test_tensors_of_another_shape_are_refused(folder: Path) -> None:
    path = folder / "experts-00002.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: t[:, :3].contiguous() for name, t in load_file(path).items()}, path, metadata)
    with pytest.raises(RddInputError, match=r"has shape .* expected \[1, 4\]"):
        ExpertStore.open(folder)
