"""Gradient matching against its definition, torch's optimiser and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training import classifiers
from rducodec.training.data.real import RealImages
from rducodec.training.group import Group
from rducodec.training.utility import matching
from rducodec.training.utility.gradient import GradientMatching, gradient_distance
from rducodec.training.utility.protocol import UtilityGradient
from tests.training.utility import tiny

LABELS = tiny.labels_of(tiny.COUNTS)


def _utility(*, group: Group | None = None, **options: Any) -> GradientMatching:
    changes = {} if group is None else {"group": group}
    return GradientMatching(tiny.context(**changes), **({"real_batch": 4, "network_steps": 3} | options))


def _angles(real: list[Tensor], synthetic: list[Tensor]) -> float:
    """The distance by its definition, row after row."""
    total = 0.0
    for a, b in zip(real, synthetic, strict=True):
        for row in range(len(a) if a.ndim > 1 else 0):
            p, q = a[row].reshape(-1).numpy(), b[row].reshape(-1).numpy()
            total += 1 - p @ q / (np.sqrt(p @ p) * np.sqrt(q @ q) + 1e-6)
    return total


def test_distance_is_one_minus_the_cosine_of_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 3, 3), (4,), (5, 6), (5,)]
    real, synthetic = ([torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes] for _ in range(2))
    np.testing.assert_allclose(float(gradient_distance(real, synthetic)), _angles(real, synthetic))
    np.testing.assert_allclose(float(gradient_distance(real, real)), 0, atol=1e-5)
    np.testing.assert_allclose(float(gradient_distance(real, [-t for t in real])), 2 * (4 + 5), rtol=1e-5)


def _gradients(network: classifiers.Classifier, x: Tensor, label: int) -> list[Tensor]:
    loss = F.cross_entropy(network(x), torch.full((len(x),), label))
    return list(torch.autograd.grad(loss, list(network.parameters())))


def _definition(network: classifiers.Classifier, real: RealImages, samples: Tensor) -> float:
    total = 0.0
    for label in range(3):
        images = real.batch(real.by_class[label]).to(samples.dtype)
        total += _angles(_gradients(network, images, label), _gradients(network, samples[label == LABELS], label))
    return total


def test_loss_is_the_distance_of_gradients() -> None:
    real, samples = tiny.real_images((6, 6, 6)), tiny.samples_of()
    context = tiny.context(augmentation="none", real=real)
    network = matching.new_network(context, 0, dtype=torch.float64)
    result = GradientMatching(context, real_batch=6).gradient(samples, LABELS, iteration=0)
    np.testing.assert_allclose(result.loss, _definition(network, real, samples), rtol=1e-9)


@pytest.mark.parametrize("iteration", range(3))
def test_gradients_equal_finite_differences(iteration: int) -> None:
    tiny.check_gradients(_utility, tiny.samples_of(), LABELS, tiny.logits_of(), iteration=iteration)


def test_gradients_with_a_subset_of_samples() -> None:
    samples = tiny.samples_of()
    tiny.check_gradients(lambda: _utility(synthetic_batch=2), samples, LABELS, iteration=1)
    grad = _utility(synthetic_batch=2).gradient(samples, LABELS, iteration=1).samples
    assert [int(grad[k == LABELS].flatten(1).any(1).sum()) for k in range(3)] == [2, 2, 1]


def test_the_network_is_trained_by_momentum_on_the_samples() -> None:
    samples, context = tiny.samples_of(), tiny.context(augmentation="none")
    utility = GradientMatching(context, network_steps=4, network_batch=100, network_lr=0.2, network_momentum=0.7)
    network = matching.new_network(context, 0, dtype=torch.float64)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.7)
    for iteration in range(3):
        utility.gradient(samples + iteration, LABELS, iteration=iteration)
        for _ in range(4 if iteration else 0):
            optimiser.zero_grad()
            F.cross_entropy(network(samples + iteration), LABELS).backward()
            optimiser.step()
    state = utility.state()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(state[f"network/{name}"], parameter.detach())


def test_soft_labels_train_the_network() -> None:
    samples, logits = tiny.samples_of(), tiny.logits_of()
    hard, soft = _utility(), _utility()
    for iteration in range(2):
        hard.gradient(samples, LABELS, iteration=iteration)
        soft.gradient(samples, LABELS, iteration=iteration, label_logits=logits)
    assert not torch.equal(hard.state()["network/classifier.weight"], soft.state()["network/classifier.weight"])


def test_a_new_network_after_inner_steps() -> None:
    utility, samples = _utility(inner_steps=2), tiny.samples_of()
    weights, momenta = [], []
    for iteration in range(4):
        utility.gradient(samples, LABELS, iteration=iteration)
        weights.append(utility.state()["network/classifier.weight"])
        momenta.append(bool(utility.state()["momentum/classifier.weight"].any()))
    new = [matching.new_network(tiny.context(), k, dtype=torch.float64).classifier.weight for k in range(2)]
    assert [torch.equal(w, new[i // 2]) for i, w in enumerate(weights)] == [True, False, True, False]
    assert momenta == [False, True, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_state_continues_bit_for_bit(dtype: torch.dtype) -> None:
    samples = tiny.samples_of(dtype=dtype)
    one = _utility(inner_steps=4)
    assert one.state() == {}
    for iteration in range(3):
        one.gradient(samples, LABELS, iteration=iteration)
    state = one.state()
    other = _utility(inner_steps=4)
    other.load_state(state)
    for iteration in (3, 4, 5):
        expected = one.gradient(samples, LABELS, iteration=iteration)
        tiny.assert_same(other.gradient(samples, LABELS, iteration=iteration), expected)


def test_a_state_is_not_moved_by_further_training() -> None:
    utility, samples = _utility(), tiny.samples_of()
    utility.gradient(samples, LABELS, iteration=0)
    state = utility.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    other = _utility()
    other.load_state(state)
    for trained in (utility, other):
        trained.gradient(samples, LABELS, iteration=1)
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    other.load_state({})
    assert other.state() == {}


def test_processes_do_what_one_does_with_the_larger_batch() -> None:
    samples, logits = tiny.samples_of(), tiny.logits_of()

    def run(group: Group) -> UtilityGradient:
        utility = _utility(group=group, real_batch=2)
        utility.gradient(samples, LABELS, iteration=0, label_logits=logits)
        return utility.gradient(samples, LABELS, iteration=1, label_logits=logits)

    alone = _utility()
    alone.gradient(samples, LABELS, iteration=0, label_logits=logits)
    expected = alone.gradient(samples, LABELS, iteration=1, label_logits=logits)
    first, second = tiny.together(2, run)
    tiny.assert_same(first, second)
    tiny.assert_close(first, expected)
    assert first.label_logits is not None
    assert expected.label_logits is not None
    torch.testing.assert_close(first.label_logits, expected.label_logits)


def test_pieces_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tiny.samples_of()
    whole = _utility(real_batch=7).gradient(samples, LABELS, iteration=0)
    monkeypatch.setattr(matching, "CPU_PIECE_PIXELS", 3 * 8 * 8)
    tiny.assert_close(_utility(real_batch=7).gradient(samples, LABELS, iteration=0), whole)


def test_bfloat16_is_near() -> None:
    samples = tiny.samples_of(dtype=torch.float32)
    exact, rough = (
        GradientMatching(tiny.context(mixed_precision=mixed, network_options={"width": 16})).gradient(
            samples, LABELS, iteration=0
        )
        for mixed in (False, True)
    )
    assert rough.samples.dtype == torch.float32
    assert exact.loss != rough.loss
    np.testing.assert_allclose(rough.loss, exact.loss, rtol=0.1)
    assert float(torch.cosine_similarity(rough.samples.flatten(), exact.samples.flatten(), dim=0)) > 0.8


def test_no_advice() -> None:
    assert _utility().recipe() == {}


@pytest.mark.parametrize(
    "option", ["real_batch", "synthetic_batch", "inner_steps", "network_steps", "network_batch", "network_lr"]
)
def test_options_are_checked(option: str) -> None:
    options: dict = {option: -1}
    with pytest.raises(RddInputError, match=f"utility option {option}: -1"):
        GradientMatching(tiny.context(), **options)


def test_second_derivatives_are_not_compiled() -> None:
    with pytest.raises(RddInputError, match=r"utility.compiled: gradient matching needs second derivatives"):
        GradientMatching(tiny.context(compiled=True))
