"""Training of experts: against torch's own SGD, alone and together, interrupted and not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rducodec.errors import RddInputError
from rducodec.training.classifiers import build_classifier
from rducodec.training.experts import ExpertSettings, ExpertStore
from rducodec.training.group import Group
from rducodec.training.randomness import generator_for
from tests.training.experts.tiny import NUM_CLASSES, NUM_IMAGES, SHAPE, images, settings, train


class Interrupted(Exception):
    pass


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _network(chosen: ExpertSettings, expert: int) -> torch.nn.Module:
    generator = generator_for(chosen.seed, "expert", expert)
    return build_classifier(
        "convnet", channels=1, num_classes=NUM_CLASSES, size=SHAPE[1:], generator=generator, **chosen.network_options
    )


def test_trajectories_are_those_of_plain_sgd(tmp_path: Path) -> None:
    chosen = settings(augmentation="none", momentum=0.9, weight_decay=0.01, seed=7)
    train(tmp_path, chosen)
    store, real = ExpertStore.open(tmp_path), images()
    for expert in (0, 3, 4):
        network = _network(chosen, expert)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for epoch in range(chosen.epochs + 1):
            found = store.parameters(expert, epoch)
            assert found.keys() == dict(network.named_parameters()).keys()
            for name, parameter in network.named_parameters():
                torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-4, atol=1e-6)
            order = torch.randperm(NUM_IMAGES, generator=generator_for(7, "expert order", expert, epoch + 1))
            for rows in order.split(chosen.batch_size):
                optimiser.zero_grad()
                F.cross_entropy(network(real.batch(rows)), real.labels[rows]).backward()
                optimiser.step()


def test_experts_do_not_depend_on_their_company(tmp_path: Path) -> None:
    for batched in (1, 5):
        train(tmp_path / str(batched), settings(batched=batched))
    one, five = (ExpertStore.open(tmp_path / str(batched)) for batched in (1, 5))
    assert len(_files(tmp_path / "1")) == 5
    assert len(_files(tmp_path / "5")) == 1
    for expert in range(5):
        left, right = one.parameters(expert, 3), five.parameters(expert, 3)
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(one.parameters(0, 3)["classifier.weight"], one.parameters(1, 3)["classifier.weight"])


def test_augmentation_and_seed_matter(tmp_path: Path) -> None:
    ends = []
    for name, chosen in {
        "plain": settings(num_experts=1, augmentation="none"),
        "augmented": settings(num_experts=1),
        "seeded": settings(num_experts=1, seed=1),
    }.items():
        train(tmp_path / name, chosen)
        ends.append(ExpertStore.open(tmp_path / name).parameters(0, 3)["classifier.weight"])
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


@pytest.mark.parametrize("stop", range(0, 16, 2))
def test_an_interrupted_training_continues_bit_for_bit(tmp_path: Path, stop: int) -> None:
    chosen = settings(momentum=0.5)
    train(tmp_path / "whole", chosen)
    heard: list[int] = []

    def interrupt(done: int, _: int) -> None:
        heard.append(done)
        if done >= stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(tmp_path / "parts", chosen, progress=interrupt)
    before = len(heard)
    train(tmp_path / "parts", chosen, progress=lambda done, _: heard.append(done))
    assert _files(tmp_path / "parts") == _files(tmp_path / "whole")
    assert heard[before] in (0, heard[before - 1], 6)  # groups begin with what was done of them
    assert heard[-1] == 15


def test_progress_counts_epochs_of_networks(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    train(tmp_path, progress=lambda *counts: told.append(counts))
    assert [total for _, total in told] == [15] * len(told)
    assert sorted({done for done, _ in told}) == [0, 2, 4, 6, 8, 10, 12, 13, 14, 15]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_processes_share_the_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "wait", lambda _: None)  # here they come one after the other
    train(tmp_path / "alone")
    train(tmp_path / "together", group=Group(0, 2))
    assert sorted(_files(tmp_path / "together")) == ["experts-00000.safetensors", "experts-00002.safetensors"]
    train(tmp_path / "together", group=Group(1, 2))
    assert _files(tmp_path / "together") == _files(tmp_path / "alone")


def test_accuracy_is_that_of_the_last_parameters(tmp_path: Path) -> None:
    chosen, test = settings(num_experts=3), images(seed=5, count=9)
    train(tmp_path, chosen, test=test)
    store = ExpertStore.open(tmp_path)
    assert store.test_accuracy is not None
    for expert in range(3):
        network = _network(chosen, expert)
        network.load_state_dict(store.parameters(expert, 3))
        right = (network(test.batch(torch.arange(9))).argmax(1) == test.labels).double().mean()
        assert store.test_accuracy[expert] == pytest.approx(float(right))


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    before = _files(tmp_path)
    with pytest.raises(RddInputError, match="other settings; choose another folder"):
        train(tmp_path, settings(learning_rate=0.2))
    with pytest.raises(RddInputError, match="other data"):
        train(tmp_path, real=images(seed=1))
    assert _files(tmp_path) == before


def test_unfit_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RddInputError, match="images of shape"):
        train(tmp_path, shape=(1, 8, 8))
    with pytest.raises(RddInputError, match=r"label 2, expected 0\.\.1"):
        train(tmp_path, num_classes=2)


def test_a_diverging_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(RddInputError, match=r"expert 0: loss .* in epoch \d; lower learning_rate"):
        train(tmp_path, settings(learning_rate=1e30, network_options={"width": 3, "depth": 1, "norm": "none"}))
    with pytest.raises(RddInputError, match="no file experts"):
        ExpertStore.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_experts", 0),
        ("epochs", 1.5),
        ("batch_size", True),
        ("batched", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("seed", -1),
        ("augmentation", "colour"),
        ("network_options", {"width": object()}),
    ],
)
def test_bad_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(RddInputError, match=name):
        settings(**{name: value})
