"""Labels that are learned beside the samples, or not."""

from __future__ import annotations

import pytest
import torch

from rducodec.training.distillation.labels import INITIAL_CONFIDENCE, SampleLabels

CLASSES = torch.tensor([0, 0, 1, 2])


def test_soft_labels_start_from_the_classes() -> None:
    labels = SampleLabels(CLASSES, num_classes=3, learning_rate=0.1)
    probabilities = labels.probabilities()
    assert probabilities is not None
    own = probabilities.gather(1, CLASSES[:, None])
    torch.testing.assert_close(own, torch.full((4, 1), INITIAL_CONFIDENCE))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))


def test_hard_labels_have_nothing_to_learn() -> None:
    labels = SampleLabels(CLASSES, num_classes=3)
    assert labels.logits is None
    assert labels.probabilities() is None
    assert labels.state() == {}


def test_a_state_continues() -> None:
    first, second = (SampleLabels(CLASSES, num_classes=3, learning_rate=0.1) for _ in range(2))
    grad = torch.arange(12.0).view(4, 3) - 5
    first.move(grad)
    second.load_state({name: t.clone() for name, t in first.state().items()})
    for labels in (first, second):
        labels.move(grad.flip(0))
    assert first.logits is not None
    assert second.logits is not None
    assert torch.equal(first.logits, second.logits)
    assert not torch.equal(first.logits, SampleLabels(CLASSES, num_classes=3, learning_rate=0.1).logits)  # type: ignore[arg-type]


def test_a_step_lowers_what_the_gradient_says() -> None:
    labels = SampleLabels(CLASSES, num_classes=3, learning_rate=0.1)
    assert labels.logits is not None
    before, grad = labels.logits.clone(), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels.move(grad)
    assert float(((labels.logits - before) * grad).sum()) == pytest.approx(-0.1 * float(grad.abs().sum()), rel=1e-4)
