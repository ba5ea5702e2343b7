"""The gradient through the training of a student: both ways, and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rducodec.training import classifiers
from rducodec.training.utility.augmentation import Augmentation
from rducodec.training.utility.student import Batch, Student, Trajectory, replayed, unrolled
from tests.training.utility import tiny

VIT = {"patch": 4, "dim": 8, "heads": 2, "depth": 1, "mlp": 8}


def _student(name: str = "convnet", **options: Any) -> Student:
    options = {"width": 3} | options if name == "convnet" else options
    network = classifiers.build_classifier(name, channels=3, num_classes=3, size=(8, 8), **options).double()
    return Student(network, Augmentation.of("color_crop_cutout_flip_scale_rotate"), tiny.context())


def _trajectory(student: Student) -> Trajectory:
    generator = torch.Generator().manual_seed(4)
    start = [p.detach() for p in student.network.parameters()]
    return Trajectory(start, [p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in start])


def _batches(student: Student, steps: int, *, soft: bool = False) -> list[Batch]:
    generator = torch.Generator().manual_seed(6)
    labels, batches = tiny.labels_of(tiny.COUNTS), []
    for step in range(steps):
        samples = tiny.samples_of(seed=step).requires_grad_()
        logits = tiny.logits_of().requires_grad_() if soft else None
        draw = student.augmentation.draw(len(samples), generator, siamese=False)
        batches.append(Batch(samples, labels, logits, draw))
    return batches


@pytest.mark.parametrize(
    ("network", "options"),
    [("convnet", {}), ("convnet", {"norm": "batch"}), ("convnet", {"norm": "none"}), ("vit", VIT | {"dropout": 0.3})],
)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
def test_replayed_equals_unrolled(network: str, options: dict, soft: bool, steps: int) -> None:
    results = []
    for way in (unrolled, replayed):
        student = _student(network, **options)
        lr = torch.tensor(0.3, dtype=torch.float64)
        results.append(way(student, _trajectory(student), _batches(student, steps, soft=soft), lr))
    one, other = results
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.lr, other.lr, rtol=1e-9, atol=1e-12)
    assert len(one.batches) == len(other.batches) == steps
    for own, expected in zip(other.batches, one.batches, strict=True):
        assert len(own) == len(expected) == 1 + soft
        for a, b in zip(own, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)
            assert bool(b.any())


def test_second_order_terms_count() -> None:
    """An early batch acts through the later gradients too: dropping that would be another gradient."""
    student = _student()
    trajectory, batches = _trajectory(student), _batches(student, 3)
    lr = torch.tensor(0.3, dtype=torch.float64)
    exact = replayed(student, trajectory, batches, lr).batches[0][0]
    parameters, steps = [p.requires_grad_() for p in trajectory.start], []
    for batch in batches:
        grads = student.step_gradients(parameters, batch, create_graph=True)
        steps.append(grads)
        parameters = [(p - lr * g).detach().requires_grad_() for p, g in zip(parameters, grads, strict=True)]
    adjoint = torch.autograd.grad(trajectory.distance(parameters), parameters)
    product = torch.stack([(a * g).sum() for a, g in zip(adjoint, steps[0], strict=True)]).sum()
    (dropped,) = torch.autograd.grad(-lr * product, batches[0].samples)
    assert float(torch.cosine_similarity(exact.flatten(), dropped.flatten(), dim=0)) < 0.999


def test_the_loss_is_where_plain_sgd_ends() -> None:
    student = _student()
    trajectory, batches = _trajectory(student), _batches(student, 3)
    loss = replayed(student, trajectory, batches, torch.tensor(0.3, dtype=torch.float64)).loss
    network: nn.Module = student.network
    optimiser = torch.optim.SGD(network.parameters(), lr=0.3)
    for batch in batches:
        optimiser.zero_grad()
        F.cross_entropy(
            network(student.augmentation.apply(batch.samples.detach(), batch.draw)), batch.labels
        ).backward()
        optimiser.step()
    ends = torch.cat([p.detach().flatten() for p in network.parameters()])
    start, end = (torch.cat([p.flatten() for p in part]) for part in (_start(), trajectory.end))
    torch.testing.assert_close(loss, ((ends - end) ** 2).sum() / ((start - end) ** 2).sum())


def _start() -> list[Tensor]:
    return [p.detach() for p in _student().network.parameters()]


def test_replaying_holds_one_graph_at_a_time() -> None:
    """Tensors saved for backward that are alive at once do not grow with the steps; unrolled ones do."""

    def most(way: object, steps: int) -> int:
        alive, peak = 0, 0

        class Saved:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal alive, peak
                self.tensor, self.size = tensor, tensor.numel()
                alive += self.size
                peak = max(peak, alive)

            def __del__(self) -> None:
                nonlocal alive
                alive -= self.size

        student = _student()
        batches, trajectory = _batches(student, steps), _trajectory(student)
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            way(student, trajectory, batches, torch.tensor(0.1, dtype=torch.float64))  # type: ignore[operator]
        return peak

    assert most(replayed, 8) < 1.5 * most(replayed, 2)
    assert most(unrolled, 8) > 3 * most(unrolled, 2)
