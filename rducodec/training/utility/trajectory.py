"""Trajectory matching (TM, Cazenavette 2022): samples on which a student goes the way of an expert."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.classifiers.determinism import deterministic_convolutions
from rducodec.training.experts import ExpertStore
from rducodec.training.experts.files import COMMAND
from rducodec.training.randomness import generator_for
from rducodec.training.utility.augmentation import Augmentation
from rducodec.training.utility.matching import check_counts, check_rates, minibatches, new_network, refuse_compiled
from rducodec.training.utility.protocol import UtilityContext, UtilityGradient
from rducodec.training.utility.student import MEMORIES, Batch, Student, StudentGradient, Trajectory

SMALLEST_LR = 1e-5  # a step that is too large must not turn the learned rate negative


class TrajectoryMatching:
    """|theta_N - theta*_(t+M)|^2 / |theta*_t - theta*_(t+M)|^2: a student against an expert, from a random epoch t.

    The student takes N steps of SGD from theta*_t on minibatches of the samples, each sample augmented on its own, at
    a rate that is learned: SGD with rate `lr_lr` and momentum. Each process follows an expert of its own.
    """

    def __init__(
        self,
        context: UtilityContext,
        *,
        experts: str | Path,
        student_steps: int = 60,
        expert_epochs: int = 2,
        max_start_epoch: int = 40,
        synthetic_batch: int | None = None,
        lr: float = 0.01,
        lr_lr: float = 1e-5,
        lr_momentum: float = 0.5,
        memory: str = "replayed",
    ) -> None:
        """experts: folder of an ExpertStore. max_start_epoch: t is less. synthetic_batch: None for all samples a step.

        memory: "replayed" holds the graph of one step, "unrolled" of all steps at once; the gradient is the same.
        """
        refuse_compiled(context, "trajectory matching")
        check_counts(student_steps=student_steps, expert_epochs=expert_epochs)
        check_counts(max_start_epoch=max_start_epoch, synthetic_batch=synthetic_batch)
        check_rates(lr=lr, lr_lr=lr_lr, lr_momentum=lr_momentum)
        if not isinstance(experts, str | Path):
            raise RddInputError(f"utility option experts: {experts!r}, expected the path of a folder")
        if not isinstance(memory, str) or memory not in MEMORIES:
            raise RddInputError(f"utility option memory: {memory!r}, expected one of {', '.join(MEMORIES)}")
        self.context, self.store = context, ExpertStore.open(Path(experts))
        _check_experts(self.store, context, Path(experts))
        if max_start_epoch - 1 + expert_epochs > self.store.num_epochs:
            raise RddInputError(
                f"experts {experts}: {self.store.num_epochs} epochs, but max_start_epoch {max_start_epoch} and "
                f"expert_epochs {expert_epochs} need {max_start_epoch - 1 + expert_epochs}"
            )
        self.student_steps, self.expert_epochs, self.max_start_epoch = student_steps, expert_epochs, max_start_epoch
        self.synthetic_batch, self.lr_lr, self.lr_momentum = synthetic_batch, lr_lr, lr_momentum
        self.memory = MEMORIES[memory]
        self.augmentation = Augmentation.of(context.augmentation)
        self._lr, self._momentum = torch.tensor(lr, dtype=torch.float64), torch.zeros((), dtype=torch.float64)

    @deterministic_convolutions()
    def gradient(
        self, samples: Tensor, labels: Tensor, *, iteration: int, label_logits: Tensor | None = None
    ) -> UtilityGradient:
        """See `Utility.gradient`; moves the learned rate."""
        network = new_network(self.context, iteration, dtype=samples.dtype)  # only its structure counts
        student = Student(network, self.augmentation, self.context)
        trajectory = self._trajectory(student, iteration, samples.dtype)
        rows = self._rows(len(samples), iteration)
        batches = self._batches(rows, samples, labels, label_logits, iteration)
        result = self.memory(student, trajectory, batches, self._lr.to(samples))
        loss, lr, *grads = self.context.group.means(
            [result.loss.reshape(1), result.lr.reshape(1), *_summed(result, rows, samples, label_logits)]
        )
        self._move_lr(float(lr))
        return UtilityGradient(float(loss), grads[0], grads[1] if len(grads) > 1 else None)

    def _trajectory(self, student: Student, iteration: int, dtype: torch.dtype) -> Trajectory:
        """A piece of this process's expert; the experts take turns, in another order each round."""
        turn = iteration * self.context.group.size + self.context.group.rank
        rounds, place = divmod(turn, self.store.num_experts)
        order = torch.randperm(self.store.num_experts, generator=generator_for(self.context.seed, "experts", rounds))
        start_epoch = generator_for(self.context.seed, "start epoch", turn)
        epoch = int(torch.randint(self.max_start_epoch, (), generator=start_epoch))
        ends = []
        for at in (epoch, epoch + self.expert_epochs):
            parameters = self.store.parameters(int(order[place]), at, self.context.device)
            ends.append(_in_order(student, parameters, dtype))
        return Trajectory(*ends)

    def _rows(self, count: int, iteration: int) -> list[Tensor]:
        """Indices of the samples of each step."""
        generator = generator_for(self.context.seed, "minibatches", iteration, self.context.group.rank)
        return minibatches(count, self.synthetic_batch, self.student_steps, generator)

    def _batches(
        self, rows: list[Tensor], samples: Tensor, labels: Tensor, label_logits: Tensor | None, iteration: int
    ) -> list[Batch]:
        generator = generator_for(self.context.seed, "augmentation", iteration, self.context.group.rank)
        batches = []
        for index in rows:
            draw = self.augmentation.draw(len(index), generator, siamese=False)
            at = index.to(samples.device)
            logits = None if label_logits is None else label_logits.detach()[at].requires_grad_()
            batches.append(Batch(samples.detach()[at].requires_grad_(), labels[at], logits, draw))
        return batches

    def _move_lr(self, grad: float) -> None:
        self._momentum = self.lr_momentum * self._momentum + grad
        self._lr = (self._lr - self.lr_lr * self._momentum).clamp_min(SMALLEST_LR)

    def state(self) -> dict[str, Tensor]:
        """The learned rate and the momentum of its optimiser."""
        return {"lr": self._lr, "lr_momentum": self._momentum}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        self._lr, self._momentum = (state[name].to("cpu", torch.float64) for name in ("lr", "lr_momentum"))

    def sources(self) -> dict[str, Any]:
        """The experts themselves."""
        return {"experts": self.store.digest()}

    def recipe(self) -> dict[str, float]:
        """The rate at which a network learns from the samples as they are now."""
        return {"lr": float(self._lr)}


def _check_experts(store: ExpertStore, context: UtilityContext, folder: Path) -> None:
    """Raises RddInputError for experts of other networks or other images."""
    wanted = {
        "network": (store.settings.network, context.network),
        "network_options": (dict(store.settings.network_options), dict(context.network_options)),
        "shape": (store.shape, context.shape),
        "num_classes": (store.num_classes, context.num_classes),
        "value space": (store.data["space"], dataclasses.asdict(context.real.space.space)),
    }
    for name, (found, expected) in wanted.items():
        if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):  # lists and tuples alike
            raise RddInputError(f"experts {folder}: {name} {found!r}, but the samples need {expected!r}")
    if store.data["digest"] != context.real.digest():
        raise RddInputError(
            f"experts {folder}: trained on {store.data['num_images']} images of {store.data['name'] or 'some data'}, "
            f"which are not the {len(context.real)} images of this run; train experts on these with `{COMMAND}`"
        )


def _in_order(student: Student, parameters: Mapping[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
    """An expert's parameters in the order of the network. Raises RddInputError where they do not fit."""
    ordered = []
    for name, own in student.network.named_parameters():
        if name not in parameters or parameters[name].shape != own.shape:
            found = f"shape {tuple(parameters[name].shape)}" if name in parameters else "none"
            raise RddInputError(f"expert parameter {name}: {found}, but the network has shape {tuple(own.shape)}")
        ordered.append(parameters[name].detach().to(dtype))
    return ordered


def _summed(result: StudentGradient, rows: list[Tensor], samples: Tensor, label_logits: Tensor | None) -> list[Tensor]:
    """Gradients of samples and logits from those of the minibatches."""
    totals = [torch.zeros_like(t) for t in (samples, label_logits) if t is not None]
    for index, grads in zip(rows, result.batches, strict=True):
        for total, grad in zip(totals, grads, strict=True):
            total[index.to(total.device)] += grad  # an index is there once at most
    return totals
