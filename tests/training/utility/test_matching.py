"""What the matching losses share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rducodec.errors import RddInputError
from rducodec.training.utility import matching
from tests.training.utility import tiny


def test_classes_lie_one_after_the_other() -> None:
    labels = tiny.labels_of((2, 0, 3))
    assert matching.class_slices(labels, tiny.context()) == [(0, slice(0, 2)), (2, slice(2, 5))]
    assert matching.class_slices(labels[:0], tiny.context()) == []


def test_labels_in_another_order_are_refused() -> None:
    for labels in ([0, 1, 0], [-1, 0]):
        with pytest.raises(RddInputError, match="not in ascending order"):
            matching.class_slices(torch.tensor(labels), tiny.context())


def test_a_class_that_there_is_not_is_refused() -> None:
    with pytest.raises(RddInputError, match="class 3, but there are 3"):
        matching.class_slices(torch.tensor([0, 3]), tiny.context())


def test_a_class_without_real_images_is_refused() -> None:
    with pytest.raises(RddInputError, match="none of class 1, which has 2 samples"):
        matching.class_slices(torch.tensor([0, 1, 1]), tiny.context(real=tiny.real_images((3, 0, 4))))


def test_minibatches_are_shuffled_epochs() -> None:
    batches = matching.minibatches(10, 4, 7, torch.Generator().manual_seed(0))
    assert [len(b) for b in batches] == [4, 4, 2, 4, 4, 2, 4]
    for epoch in (batches[:3], batches[3:6]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert not torch.equal(batches[0], batches[3])
    assert [len(b) for b in matching.minibatches(10, None, 2, torch.Generator())] == [10, 10]


def test_settled_batch_norm_has_the_statistics_of_real_images() -> None:
    context = tiny.context(network_options={"width": 3, "norm": "batch"})
    network = matching.new_network(context, 0, dtype=torch.float64)
    first, norm = network.get_submodule("blocks.0"), network.get_submodule("blocks.1")
    assert isinstance(norm, nn.BatchNorm2d)
    momentum, seen = norm.momentum, []
    first.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    matching.settle(network, context, iteration=0, dtype=torch.float64)
    values = seen[0].transpose(0, 1).flatten(1)
    assert len(seen[0]) == 3 * matching.SETTLING_IMAGES
    torch.testing.assert_close(norm.running_mean, values.mean(1))
    torch.testing.assert_close(norm.running_var, values.var(1))
    assert not network.training
    assert norm.momentum == momentum


def test_networks_follow_from_seed_and_steps() -> None:
    def weights(step: int, seed: int = 0) -> torch.Tensor:
        network = matching.new_network(tiny.context(seed=seed), step, dtype=torch.float32)
        return network.classifier.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert not torch.equal(weights(1), weights(1, seed=1))


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan"), True, "fast", None])
def test_rates_are_checked(value: object) -> None:
    with pytest.raises(RddInputError, match=r"utility option lr: .*, expected a number that is not negative"):
        matching.check_rates(lr=value)


def test_rates_may_be_zero() -> None:
    matching.check_rates(lr=0, momentum=0.5)
