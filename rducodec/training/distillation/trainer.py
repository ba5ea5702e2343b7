"""The joint optimisation of a representation for a utility loss (paper, Eq. 20), resumable bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.checkpoint import read_checkpoint, restored_from, write_checkpoint
from rducodec.training.distillation.configuration import OptimisationSettings
from rducodec.training.distillation.labels import SampleLabels
from rducodec.training.distillation.representation import RateEstimate, Representation, Step
from rducodec.training.distillation.weight import HeldSize, TwoStages, Weight, cautious_weight
from rducodec.training.group import ALONE, Group
from rducodec.training.utility.check import check_gradient
from rducodec.training.utility.protocol import Utility, UtilityGradient

COUNTS = 20  # parts of an optimisation: between them the size of a file is counted, halfway that of networks, too
MIN_COUNT_INTERVAL = 10  # iterations: a count takes as long as some of them
DEFAULT_LMBDA = (1.0, 1.0)  # where nothing weighs bits: plain pixels


@dataclass(frozen=True)
class JointProgress:
    """State after `iteration` of `iterations`."""

    iteration: int
    iterations: int
    loss: float  # of the utility
    rate: RateEstimate
    lmbda: float
    seconds: float  # of this process, since it started or resumed


def _no_report(_: JointProgress) -> None:
    """Nobody asked."""


class JointTrainer:
    """Runs the iterations; the representation, the labels and the utility keep their own states.

    `target_bits`: of latents and networks of all slices together, to be held by moving the weight of the utility.
    """

    def __init__(
        self,
        representation: Representation,
        utility: Utility,
        labels: SampleLabels,
        settings: OptimisationSettings,
        *,
        target_bits: float | None = None,
        fingerprint: str = "",
        checkpoint: Path | None = None,
        group: Group = ALONE,
        report: Callable[[JointProgress], None] = _no_report,
    ) -> None:
        self.representation, self.utility, self.labels, self.settings = representation, utility, labels, settings
        self.fingerprint, self.checkpoint = fingerprint, checkpoint
        self.group, self.report = group, report
        self.iteration = 0
        samples = representation.samples(self._step(1.0))
        self.num_pixels = samples.shape[0] * samples.shape[2] * samples.shape[3]
        self.weight = _weight(settings, target_bits)

    def _find_weight(self) -> None:
        """Where a size is to be held and no weight is given: one at which the utility pulls gently at the latents."""
        if not isinstance(self.weight, HeldSize) or self.weight.start > 0:
            return
        samples = self.representation.samples(self._step(0.0))
        gradient = self.group.mean(first_gradient(self.utility, samples, self.labels).samples)
        _, (alone, *_) = self.representation.gradients(self._step(0.0), gradient)
        _, (both, *_) = self.representation.gradients(self._step(1.0), gradient)
        self.weight.start = cautious_weight(alone, both - alone) / self.num_pixels

    def _position(self) -> float:
        return self.iteration / self.settings.iterations

    def _step(self, num_pixels_weight: float) -> Step:
        position = self._position()
        last = self.settings.final_learning_rate_share
        rate = self.settings.learning_rate * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * position)))
        return Step(self.iteration, position, rate, num_pixels_weight)

    def run(self) -> Representation:
        """All iterations from where the state is. Raises RddInputError where the optimisation diverges."""
        begin = time.monotonic()
        if self.iteration == 0:
            self._find_weight()
        while self.iteration < self.settings.iterations:
            step = self._step(self.weight.lmbda * self.num_pixels)
            loss, rate = self._iterate(step)
            self.iteration += 1
            self.weight.told(rate.latents + rate.networks, position=self._position(), learning_rate=step.learning_rate)
            self._count()
            if self.iteration % self.settings.report_interval == 0 or self.iteration == self.settings.iterations:
                seconds = time.monotonic() - begin
                lmbda = step.num_pixels_weight / self.num_pixels
                self.report(JointProgress(self.iteration, self.settings.iterations, loss, rate, lmbda, seconds))
            if self.iteration % self.settings.checkpoint_interval == 0:
                self.save()
        return self.representation

    def _iterate(self, step: Step) -> tuple[float, RateEstimate]:
        """Move everything once; loss and bits before.

        What each process found is averaged here and nowhere else: a loss need not know of processes, and parameters
        stay the same in all of them whatever their devices round.
        """
        samples = self.representation.samples(step)
        result = self.utility.gradient(
            samples, self.labels.classes, iteration=self.iteration, label_logits=self.labels.logits
        )
        rate, grads = self.representation.gradients(step, result.samples)
        logits = [] if result.label_logits is None else [result.label_logits]
        numbers = grads[0].new_tensor([result.loss, rate.latents, rate.networks])
        *means, numbers = self.group.means([*grads, *logits, numbers])
        loss, latents, networks = numbers.tolist()
        if not bool(torch.stack([mean.isfinite().all() for mean in (*means, numbers)]).all()):
            raise RddInputError(
                f"iteration {self.iteration}: the utility loss is {loss}, or a gradient is not finite: the "
                "optimisation diverged, try a smaller joint.learning_rate"
            )
        self.representation.move(step, means[: len(grads)])
        if logits:
            self.labels.move(means[-1])
        return loss, RateEstimate(latents, networks)

    def _count(self) -> None:
        interval = max(MIN_COUNT_INTERVAL, self.settings.iterations // COUNTS)
        if self.iteration % interval == 0 and self.iteration < self.settings.iterations:
            middle = interval * max(1, self.settings.iterations // interval // 2)
            self.representation.count(networks=self.iteration == middle)

    def save(self) -> None:
        """Write the state, if there is a path to write it to; the first process alone does."""
        if self.checkpoint is None or not self.group.is_first:
            return
        parts = {"representation": self.representation.state(), "utility": self.utility.state()}
        parts["labels"] = self.labels.state()
        tensors = {f"{part}/{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
        fields: dict[str, Any] = {"fingerprint": self.fingerprint, "iteration": self.iteration}
        write_checkpoint(self.checkpoint, tensors, fields | {"weight": self.weight.state()})

    def resume(self) -> bool:
        """Continue from the checkpoint, if there is one. Raises RddInputError if it is of another training."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return False
        tensors, fields = read_checkpoint(self.checkpoint)
        if fields.get("fingerprint") != self.fingerprint:
            raise RddInputError(
                f"checkpoint {self.checkpoint}: of another configuration or other data; choose another folder"
            )
        parts: dict[str, dict[str, Tensor]] = {"representation": {}, "utility": {}, "labels": {}}
        with restored_from(self.checkpoint):
            for name, tensor in tensors.items():
                part, _, key = name.partition("/")
                parts[part][key] = tensor
            self.representation.load_state(parts["representation"])
            self.utility.load_state(parts["utility"])
            self.labels.load_state(parts["labels"])
            self.weight.load_state(fields["weight"])
            self.iteration = fields["iteration"]
        return True


def _weight(settings: OptimisationSettings, target_bits: float | None) -> Weight:
    """Before the first iteration; a start of 0 is still to be found."""
    given = settings.lmbda
    if target_bits is None:
        return TwoStages(given[0], given[-1]) if given else TwoStages(*DEFAULT_LMBDA)
    return HeldSize(target_bits, given[0] if given else 0.0)


def first_gradient(utility: Utility, samples: Tensor, labels: SampleLabels) -> UtilityGradient:
    """What a loss says before the first iteration; its state is left as it was.

    Raises RddInputError for what no training could use: hours of preparation need not come before.
    """
    state = {name: tensor.clone() for name, tensor in utility.state().items()}
    found = utility.gradient(samples, labels.classes, iteration=0, label_logits=labels.logits)
    utility.load_state(state)
    result = check_gradient(found, samples, labels.logits)
    if not math.isfinite(result.loss) or not bool(result.samples.isfinite().all()):
        raise RddInputError(
            f"utility: the loss of the first samples is {result.loss}, or its gradient is not finite; look at "
            "utility.options and at the value space of the images"
        )
    return result
