"""Trajectory matching with small experts: finite differences, the learned rate, states, processes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.training.data.space import pixel_space
from rducodec.training.experts import ExpertSettings, train_experts
from rducodec.training.experts import ExpertStore as RealStore
from rducodec.training.group import Group
from rducodec.training.utility import trajectory
from rducodec.training.utility.matching import new_network
from rducodec.training.utility.protocol import HasSources, UtilityGradient
from rducodec.training.utility.trajectory import TrajectoryMatching
from tests.training.utility import tiny

LABELS = tiny.labels_of(tiny.COUNTS)
NUM_EXPERTS, NUM_EPOCHS = 3, 6
SPACE = {"kind": "pixels", "mean": [], "std": [], "text": ""}


@dataclass
class _Experts:
    """Random walks instead of trained networks; remembers what it was asked for."""

    asked: list[tuple[int, int]]
    num_experts: int = NUM_EXPERTS
    num_epochs: int = NUM_EPOCHS
    settings: ExpertSettings = field(default_factory=lambda: ExpertSettings(network_options={"width": 3}))
    shape: tuple[int, int, int] = tiny.SHAPE
    num_classes: int = 3
    data: dict[str, Any] = field(
        default_factory=lambda: {"name": "tiny", "num_images": 9, "digest": tiny.real_images().digest(), "space": SPACE}
    )

    def digest(self) -> str:
        return f"digest of {self.num_experts}"

    def parameters(self, expert: int, epoch: int, device: torch.device) -> dict[str, Tensor]:
        assert 0 <= expert < self.num_experts
        assert 0 <= epoch <= self.num_epochs
        self.asked.append((expert, epoch))
        network = new_network(tiny.context(), expert, dtype=torch.float32)
        generator = torch.Generator().manual_seed(expert)
        tensors = {name: p.detach().to(device) for name, p in network.named_parameters()}
        for _ in range(epoch):
            for name in tensors:
                tensors[name] = tensors[name] + 0.1 * torch.randn(tensors[name].shape, generator=generator)
        return tensors


@pytest.fixture(autouse=True)
def experts(monkeypatch: pytest.MonkeyPatch) -> _Experts:
    store = _Experts([])

    class Store:
        @staticmethod
        def open(folder: Path) -> _Experts:
            assert folder == Path("experts")
            return store

    monkeypatch.setattr(trajectory, "ExpertStore", Store)
    return store


def _utility(group: Group | None = None, **options: Any) -> TrajectoryMatching:
    changes = {} if group is None else {"group": group}
    defaults: dict[str, Any] = {
        "experts": "experts",
        "student_steps": 4,
        "max_start_epoch": 4,
        "synthetic_batch": 4,
        "lr": 0.2,
    }
    return TrajectoryMatching(tiny.context(**changes), **(defaults | options))


@pytest.mark.parametrize("memory", ["replayed", "unrolled"])
@pytest.mark.parametrize("iteration", range(2))
def test_gradients_equal_finite_differences(memory: str, iteration: int) -> None:
    samples, logits = tiny.samples_of(), tiny.logits_of()
    tiny.check_gradients(lambda: _utility(memory=memory), samples, LABELS, logits, iteration=iteration)
    tiny.check_gradients(lambda: _utility(memory=memory), samples, LABELS, iteration=iteration)


def test_the_rate_follows_its_gradient_with_momentum() -> None:
    samples = tiny.samples_of()

    def slope(lr: float, iteration: int) -> float:
        up, down = (
            _utility(lr=lr + sign * tiny.STEP).gradient(samples, LABELS, iteration=iteration).loss for sign in (1, -1)
        )
        return (up - down) / (2 * tiny.STEP)

    utility = _utility(lr_lr=0.01, lr_momentum=0.5)
    rates, momentum = [0.2], 0.0
    for iteration in range(3):
        momentum = 0.5 * momentum + slope(rates[-1], iteration)
        utility.gradient(samples, LABELS, iteration=iteration)
        np.testing.assert_allclose(utility.recipe()["lr"], rates[-1] - 0.01 * momentum, rtol=1e-7)
        rates.append(utility.recipe()["lr"])
    assert len(set(rates)) == 4


def test_the_rate_stays_positive() -> None:
    utility = _utility(lr=0.2, lr_lr=1e6)
    rates = []
    for iteration in range(4):
        utility.gradient(tiny.samples_of(), LABELS, iteration=iteration)
        rates.append(utility.recipe()["lr"])
    assert min(rates) == trajectory.SMALLEST_LR


def test_a_loaded_state_continues_bit_for_bit() -> None:
    samples = tiny.samples_of(dtype=torch.float32)
    one, other = _utility(lr_lr=0.01), _utility(lr_lr=0.01)
    for iteration in range(2):
        one.gradient(samples, LABELS, iteration=iteration)
    other.load_state(one.state())
    for iteration in range(2, 4):
        expected = one.gradient(samples, LABELS, iteration=iteration)
        tiny.assert_same(other.gradient(samples, LABELS, iteration=iteration), expected)
    assert other.recipe() == one.recipe()


def test_experts_take_turns_from_early_epochs(experts: _Experts) -> None:
    utility = _utility(expert_epochs=2, max_start_epoch=2, student_steps=1)
    for iteration in range(4 * NUM_EXPERTS):
        utility.gradient(tiny.samples_of(), LABELS, iteration=iteration)
    starts, ends = experts.asked[::2], experts.asked[1::2]
    assert [(expert, epoch + 2) for expert, epoch in starts] == ends
    assert {epoch for _, epoch in starts} == {0, 1}
    turns = [tuple(expert for expert, _ in starts[i : i + NUM_EXPERTS]) for i in range(0, len(starts), NUM_EXPERTS)]
    assert all(sorted(turn) == [0, 1, 2] for turn in turns)
    assert len(set(turns)) > 1


def test_processes_follow_experts_of_their_own_and_agree(experts: _Experts) -> None:
    samples, rates = tiny.samples_of(), []

    class Silent(Group):
        """One of two that hears nothing from the other."""

        def means(self, tensors: Any) -> list[Tensor]:
            return list(tensors)

    def run(group: Group) -> UtilityGradient:
        utility = _utility(group, lr_lr=0.01)
        result = utility.gradient(samples, LABELS, iteration=1)
        rates.append(utility.recipe()["lr"])
        return result

    first, second = tiny.together(2, run)
    tiny.assert_same(first, second)
    assert rates[0] == rates[1]
    experts.asked.clear()
    alone = [run(Silent(rank, 2)) for rank in range(2)]
    assert experts.asked[0][0] != experts.asked[2][0]
    np.testing.assert_allclose(first.loss, (alone[0].loss + alone[1].loss) / 2)
    torch.testing.assert_close(first.samples, (alone[0].samples + alone[1].samples) / 2)
    np.testing.assert_allclose(rates[0], (rates[2] + rates[3]) / 2)


def test_bfloat16_is_near() -> None:
    samples = tiny.samples_of(dtype=torch.float32)
    context = tiny.context(mixed_precision=True)
    options: dict = {"experts": "experts", "student_steps": 4, "max_start_epoch": 4, "lr": 0.05}
    for memory in ("replayed", "unrolled"):
        rough = TrajectoryMatching(context, memory=memory, **options).gradient(samples, LABELS, iteration=0)
        exact = TrajectoryMatching(tiny.context(), memory=memory, **options).gradient(samples, LABELS, iteration=0)
        assert rough.loss != exact.loss
        np.testing.assert_allclose(rough.loss, exact.loss, rtol=0.05)
        assert float(torch.cosine_similarity(rough.samples.flatten(), exact.samples.flatten(), dim=0)) > 0.8


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(RddInputError, match=r"6 epochs, but max_start_epoch 6 and expert_epochs 2 need 7"):
        _utility(max_start_epoch=6)
    _utility(max_start_epoch=5)


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(RddInputError, match="memory: 'large', expected one of replayed, unrolled"):
        _utility(memory="large")
    with pytest.raises(RddInputError, match=r"memory: \[1\], expected one of replayed, unrolled"):
        _utility(memory=[1])


def test_experts_that_are_no_path_are_refused() -> None:
    with pytest.raises(RddInputError, match="experts: 2024, expected the path of a folder"):
        TrajectoryMatching(tiny.context(), experts=2024)  # type: ignore[arg-type] # as TOML may have it


@pytest.mark.parametrize("option", ["student_steps", "expert_epochs", "max_start_epoch", "synthetic_batch", "lr_lr"])
def test_options_are_checked(option: str) -> None:
    options: dict[str, Any] = {option: -1}
    with pytest.raises(RddInputError, match=f"utility option {option}: -1"):
        _utility(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "vit"}, "network 'convnet', but the samples need 'vit'"),
        ({"network_options": {"width": 4}}, "network_options {'width': 3}, but the samples need {'width': 4}"),
        ({"shape": (1, 8, 8)}, r"shape \(3, 8, 8\), but the samples need \(1, 8, 8\)"),
        ({"num_classes": 4}, "num_classes 3, but the samples need 4"),
    ],
)
def test_experts_of_another_training_are_refused(change: dict, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        TrajectoryMatching(replace(tiny.context(), **change), experts="experts", max_start_epoch=1)


def test_experts_of_another_value_space_are_refused() -> None:
    other = replace(pixel_space(3), space=ValueSpace("standardised", (0.5,) * 3, (0.2,) * 3))
    context = tiny.context(real=replace(tiny.real_images(), space=other))
    with pytest.raises(RddInputError, match=r"value space .*'pixels'.*, but the samples need .*'standardised'"):
        TrajectoryMatching(context, experts="experts", max_start_epoch=1)


def test_experts_of_other_images_are_refused() -> None:
    real = tiny.real_images()
    other = replace(real, images=real.images.flip(0))
    with pytest.raises(RddInputError, match=r"trained on 9 images of tiny, which are not .* train experts on these"):
        TrajectoryMatching(tiny.context(real=other), experts="experts", max_start_epoch=1)


def test_the_same_experts_elsewhere_are_the_same() -> None:
    assert isinstance(_utility(), HasSources)
    assert _utility().sources() == {"experts": "digest of 3"}


def test_parameters_that_do_not_fit_are_refused(experts: _Experts) -> None:
    utility = _utility()
    lacking = {"blocks.0.weight": torch.zeros(4, 3, 3, 3)}
    experts.parameters = lambda *_: lacking  # type: ignore[method-assign]
    with pytest.raises(RddInputError, match=r"parameter blocks\.0\.weight: shape \(4, 3, 3, 3\), but the network"):
        utility.gradient(tiny.samples_of(), LABELS, iteration=0)
    lacking.clear()
    with pytest.raises(RddInputError, match=r"parameter blocks\.0\.weight: none, but the network"):
        utility.gradient(tiny.samples_of(), LABELS, iteration=0)


def test_trained_experts_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trajectory, "ExpertStore", RealStore)
    context = tiny.context()
    settings = ExpertSettings(num_experts=2, epochs=3, network_options=context.network_options)
    train_experts(
        context.real, num_classes=3, shape=tiny.SHAPE, settings=settings, folder=tmp_path, device=context.device
    )
    utility = TrajectoryMatching(context, experts=str(tmp_path), student_steps=2, max_start_epoch=2)
    result = utility.gradient(tiny.samples_of(dtype=torch.float32), LABELS, iteration=0)
    assert 0.5 < result.loss < 100
    assert bool(result.samples.any())


def test_second_derivatives_are_not_compiled() -> None:
    with pytest.raises(RddInputError, match=r"utility.compiled: trajectory matching needs second derivatives"):
        TrajectoryMatching(tiny.context(compiled=True), experts="none")
