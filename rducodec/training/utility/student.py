"""A student trained on samples for some steps, and the gradient of where it ends with respect to all that it saw.

Two ways to the same gradient. "unrolled" keeps the graph of all steps: memory grows with their number. "replayed"
keeps the parameters before each step, and goes back through the steps one by one: each is computed again with its own
graph, and its vector-Jacobian product taken. That is reverse-mode differentiation with every step a checkpoint: it
drops no term, and costs one more forward and backward pass a step. (TESLA, Cui 2023, needs as little memory but takes
the parameters before each step as given: what an early batch does through later gradients is lost there.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from rducodec.training.classifiers import Classifier
from rducodec.training.utility.augmentation import Augmentation, Draw
from rducodec.training.utility.matching import precision, targets_of
from rducodec.training.utility.protocol import UtilityContext

Parameters = list[Tensor]
EXTRA_STATE = "_extra_state"  # how torch names the state of modules that draw random numbers


@dataclass(frozen=True)
class Batch:
    """What one step sees; leaves of the graph."""

    samples: Tensor  # (n, C, H, W)
    labels: Tensor  # (n,)
    label_logits: Tensor | None  # (n, K)
    draw: Draw

    def leaves(self) -> list[Tensor]:
        """Tensors whose gradients are asked for."""
        return [self.samples] if self.label_logits is None else [self.samples, self.label_logits]


@dataclass(frozen=True)
class Trajectory:
    """Where an expert was (the student starts there) and where it came to."""

    start: Parameters
    end: Parameters

    def distance(self, parameters: Sequence[Tensor]) -> Tensor:
        """|parameters - end|^2 / |start - end|^2."""
        left = torch.stack([(p - e).square().sum() for p, e in zip(parameters, self.end, strict=True)]).sum()
        return left / torch.stack([(s - e).square().sum() for s, e in zip(self.start, self.end, strict=True)]).sum()


@dataclass(frozen=True)
class Student:
    """A network as a function of its parameters."""

    network: Classifier
    augmentation: Augmentation
    context: UtilityContext

    def step_gradients(self, parameters: Parameters, batch: Batch, *, create_graph: bool) -> Parameters:
        """Of the cross entropy on a batch, with respect to parameters."""
        names = [name for name, _ in self.network.named_parameters()]
        with torch.enable_grad():
            augmented = self.augmentation.apply(batch.samples, batch.draw)
            with precision(self.context):
                logits = functional_call(self.network, dict(zip(names, parameters, strict=True)), (augmented,))
            loss = F.cross_entropy(logits.to(augmented.dtype), targets_of(batch.labels, batch.label_logits))
            return list(torch.autograd.grad(loss, parameters, create_graph=create_graph))

    def random_state(self) -> dict[str, Tensor]:
        """Of modules that draw random numbers, so that a step can be computed again."""
        return {k: t.clone() for k, t in self.network.state_dict().items() if k.endswith(EXTRA_STATE)}

    def set_random_state(self, state: Mapping[str, Tensor]) -> None:
        """Back to what `random_state` returned."""
        self.network.load_state_dict(state, strict=False)


@dataclass(frozen=True)
class StudentGradient:
    """The distance from the expert's end and its gradients."""

    loss: Tensor  # 0-dimensional
    batches: list[list[Tensor]]  # for each step, of `Batch.leaves()`
    lr: Tensor  # 0-dimensional


def _leaves(tensors: Sequence[Tensor]) -> Parameters:
    return [t.detach().requires_grad_() for t in tensors]


def unrolled(student: Student, trajectory: Trajectory, batches: Sequence[Batch], lr: Tensor) -> StudentGradient:
    """Through the graph of all steps of SGD."""
    (rate,) = _leaves([lr])
    parameters = _leaves(trajectory.start)
    with torch.enable_grad():
        for batch in batches:
            grads = student.step_gradients(parameters, batch, create_graph=True)
            parameters = [p - rate * g for p, g in zip(parameters, grads, strict=True)]
        loss = trajectory.distance(parameters)
    leaves = [leaf for batch in batches for leaf in batch.leaves()]
    of_rate, *flat = torch.autograd.grad(loss, [rate, *leaves])
    rest = iter(flat)
    return StudentGradient(loss.detach(), [[next(rest) for _ in batch.leaves()] for batch in batches], of_rate)


def replayed(student: Student, trajectory: Trajectory, batches: Sequence[Batch], lr: Tensor) -> StudentGradient:
    """One step's graph at a time.

    With theta' = theta - lr * g(theta, batch) and a = dL/dtheta', a step adds -<a, g> to dL/dlr, the batch gets the
    gradient of -lr * <a, g>, and dL/dtheta = a + the gradient of -lr * <a, g> with respect to theta.
    """
    path, states = [[t.detach() for t in trajectory.start]], []
    for batch in batches:
        states.append(student.random_state())
        grads = student.step_gradients(_leaves(path[-1]), batch, create_graph=False)
        path.append([p - lr * g for p, g in zip(path[-1], grads, strict=True)])
    adjoint, loss = _end(trajectory, path.pop())
    of_rate, of_batches = torch.zeros_like(lr), []
    for batch, state in zip(reversed(batches), reversed(states), strict=True):
        student.set_random_state(state)
        parameters = _leaves(path.pop())
        grads = student.step_gradients(parameters, batch, create_graph=True)
        with torch.enable_grad():
            product = torch.stack([(a * g).sum() for a, g in zip(adjoint, grads, strict=True)]).sum()
        inputs = [*batch.leaves(), *parameters]
        # Some parameters may not bear on the gradients, as a bias before a norm.
        of_inputs = torch.autograd.grad(product, inputs, allow_unused=True, materialize_grads=True)
        of_rate -= product.detach()
        count = len(batch.leaves())
        of_batches.append([-lr * g for g in of_inputs[:count]])
        adjoint = [a - lr * g for a, g in zip(adjoint, of_inputs[count:], strict=True)]
    return StudentGradient(loss, of_batches[::-1], of_rate)


def _end(trajectory: Trajectory, parameters: Parameters) -> tuple[Parameters, Tensor]:
    """Gradient of the distance where the student ends, and the distance."""
    leaves = _leaves(parameters)
    with torch.enable_grad():
        loss = trajectory.distance(leaves)
    return list(torch.autograd.grad(loss, leaves)), loss.detach()


MEMORIES: dict[str, Callable[[Student, Trajectory, Sequence[Batch], Tensor], StudentGradient]] = {
    "replayed": replayed,
    "unrolled": unrolled,
}
