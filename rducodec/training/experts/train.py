"""Training of expert networks, many side by side, each epoch kept (Cazenavette 2022, section 3.1)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.training.checkpoint import read_checkpoint, write_checkpoint
from rducodec.training.classifiers import Ensemble, build_classifier
from rducodec.training.classifiers.determinism import deterministic_convolutions
from rducodec.training.data.real import RealImages
from rducodec.training.experts.files import (
    MOMENTUM,
    assemble,
    common_fields,
    epoch_files,
    epoch_path,
    group_files,
    group_path,
    read_fields,
)
from rducodec.training.experts.settings import ExpertSettings
from rducodec.training.group import ALONE, Group
from rducodec.training.randomness import generator_for
from rducodec.training.utility.augmentation import Augmentation


def train_experts(
    real: RealImages,
    *,
    num_classes: int,
    shape: tuple[int, int, int],
    settings: ExpertSettings,
    folder: Path,
    device: torch.device,
    group: Group = ALONE,
    progress: Callable[[int, int], object] | None = None,
    test: RealImages | None = None,
    data_name: str = "",
) -> None:
    """Train experts on `real` and keep their parameters of every epoch in `folder`, for `ExpertStore`.

    What `folder` already holds of the same training is kept, and continued bit for bit: interrupt at will. The
    processes of `group` share the work. `progress` is told (done, total) of this process's work, in epochs of a
    network. Accuracies on `test`, in the same value space, are noted beside the last epoch. Raises RddInputError for
    images that do not fit, for a folder with another training, or if a network diverges.
    """
    _check_images(real, shape, num_classes)
    common = _common_fields(real, num_classes=num_classes, shape=shape, settings=settings, data_name=data_name)
    training = _Training(real, test, num_classes, shape, settings, Path(folder), device, common)
    with translated_errors(folder):
        training.folder.mkdir(parents=True, exist_ok=True)
    training.check_folder()
    group.wait()  # no process writes before all have looked
    own = range(settings.num_groups)[group.rank :: group.size]
    total = settings.epochs * sum(len(settings.experts(g)) for g in own)
    done = 0
    for number in own:
        count = len(settings.experts(number))
        start = done

        def report(epoch: int, start: int = start, count: int = count) -> None:
            if progress is not None:
                progress(start + epoch * count, total)

        with deterministic_convolutions():
            training.run(number, report)
        done += settings.epochs * count
    group.wait()


@dataclass(frozen=True)
class _Training:
    """All that groups of networks have in common."""

    real: RealImages
    test: RealImages | None
    num_classes: int
    shape: tuple[int, int, int]
    settings: ExpertSettings
    folder: Path
    device: torch.device
    common: dict[str, Any]  # fields of every file

    def check_folder(self) -> None:
        """RddInputError if a file there is of another training."""
        for path in (*group_files(self.folder).values(), *epoch_files(self.folder).values()):
            found = common_fields(read_fields(path))
            if found != self.common:
                names = [name for name in self.common if found.get(name) != self.common[name]]
                raise RddInputError(
                    f"experts {path}: of a training with other {', '.join(names)}; choose another folder"
                )

    def run(self, group: int, report: Callable[[int], None]) -> None:
        """Train one group to its end, from where its files stop; `report` is told the epochs done."""
        paths = [epoch_path(self.folder, group, epoch) for epoch in range(self.settings.epochs + 1)]
        if not group_path(self.folder, group).exists():
            self._train(group, paths, report)
            tensors, _ = read_checkpoint(paths[-1])
            accuracy = self._accuracies(self._restored(group, tensors))
            fields = {**self.common, "group": group, "test_accuracy": accuracy}
            assemble(group_path(self.folder, group), paths, fields)
        report(self.settings.epochs)
        with translated_errors(self.folder):
            for path in paths:
                path.unlink(missing_ok=True)

    def _train(self, group: int, paths: list[Path], report: Callable[[int], None]) -> None:
        """Write the files of all epochs that are not there."""
        done = next((epoch for epoch, path in enumerate(paths) if not path.exists()), len(paths)) - 1
        ensemble = self._ensemble(group)
        momenta = {name: torch.zeros_like(p, requires_grad=False) for name, p in ensemble.parameters.items()}
        if done >= 0:
            tensors, _ = read_checkpoint(paths[done])
            _load(ensemble.parameters, tensors)
            if self.settings.momentum:
                _load(momenta, tensors, prefix=MOMENTUM)
        else:
            done = 0
            self._write(group, 0, paths[0], ensemble, momenta)
        report(done)
        for epoch in range(done + 1, len(paths)):
            self._check_losses(group, epoch, self._epoch(group, epoch, ensemble, momenta))
            self._write(group, epoch, paths[epoch], ensemble, momenta)
            if epoch < self.settings.epochs:
                report(epoch)

    def _ensemble(self, group: int) -> Ensemble:
        networks = [
            build_classifier(
                self.settings.network,
                channels=self.shape[0],
                num_classes=self.num_classes,
                size=self.shape[1:],
                generator=generator_for(self.settings.seed, "expert", expert),
                **self.settings.network_options,
            ).to(self.device)
            for expert in self.settings.experts(group)
        ]
        return Ensemble(networks)

    def _restored(self, group: int, tensors: dict[str, Tensor]) -> Ensemble:
        ensemble = self._ensemble(group)
        _load(ensemble.parameters, tensors)
        return ensemble

    def _write(self, group: int, epoch: int, path: Path, ensemble: Ensemble, momenta: dict[str, Tensor]) -> None:
        kept = {MOMENTUM + name: value for name, value in momenta.items()} if self.settings.momentum else {}
        write_checkpoint(path, {**ensemble.parameters, **kept}, {**self.common, "group": group, "epoch": epoch})

    def _epoch(self, group: int, epoch: int, ensemble: Ensemble, momenta: dict[str, Tensor]) -> Tensor:
        """One epoch of SGD in place; the sums of the losses of its batches (E,)."""
        experts, seed = self.settings.experts(group), self.settings.seed
        augmentation = Augmentation.of(self.settings.augmentation)
        chances = [generator_for(seed, "expert augmentation", expert, epoch) for expert in experts]
        orders = torch.stack(
            [
                torch.randperm(len(self.real), generator=generator_for(seed, "expert order", expert, epoch))
                for expert in experts
            ]
        )
        total = torch.zeros(len(experts), device=self.device)
        for rows in torch.split(orders, self.settings.batch_size, 1):
            draws = [augmentation.draw(rows.shape[1], chance, siamese=False) for chance in chances]
            images = [augmentation.apply(self.real.batch(r), draw) for r, draw in zip(rows, draws, strict=True)]
            labels = self.real.labels[rows.to(self.real.labels.device)]
            losses, gradients = ensemble.gradients(
                torch.stack(images), labels, mixed_precision=self.settings.mixed_precision
            )
            self._step(ensemble.parameters, gradients, momenta)
            total += losses
        return total

    @torch.no_grad()
    def _step(self, parameters: dict[str, Tensor], gradients: dict[str, Tensor], momenta: dict[str, Tensor]) -> None:
        """SGD as torch.optim.SGD defines it."""
        for name, parameter in parameters.items():
            change = gradients[name].add(parameter, alpha=self.settings.weight_decay)
            if self.settings.momentum:
                change = momenta[name].mul_(self.settings.momentum).add_(change)
            parameter.sub_(change, alpha=self.settings.learning_rate)

    def _check_losses(self, group: int, epoch: int, losses: Tensor) -> None:
        for expert, loss in zip(self.settings.experts(group), losses.tolist(), strict=True):
            if not math.isfinite(loss):
                rate = self.settings.learning_rate
                raise RddInputError(f"expert {expert}: loss {loss} in epoch {epoch}; lower learning_rate ({rate})")

    @torch.no_grad()
    def _accuracies(self, ensemble: Ensemble) -> list[float] | None:
        if self.test is None:
            return None
        right = torch.zeros(len(ensemble), device=self.device)
        for rows in torch.split(torch.arange(len(self.test)), self.settings.batch_size):
            x = self.test.batch(rows)
            labels = self.test.labels[rows.to(self.test.labels.device)]
            right += (ensemble(x.expand(len(ensemble), *x.shape)).argmax(2) == labels).sum(1)
        return [count / len(self.test) for count in right.tolist()]


@torch.no_grad()
def _load(targets: dict[str, Tensor], values: dict[str, Tensor], *, prefix: str = "") -> None:
    for name, target in targets.items():
        target.copy_(values[prefix + name])


def _check_images(real: RealImages, shape: tuple[int, int, int], num_classes: int) -> None:
    found = tuple(real.images.shape[1:])
    if found != tuple(shape):
        raise RddInputError(f"experts: images of shape {found}, expected {tuple(shape)}")
    if int(real.labels.min()) < 0 or int(real.labels.max()) >= num_classes:
        raise RddInputError(f"experts: label {int(real.labels.max())}, expected 0..{num_classes - 1}")


def _common_fields(
    real: RealImages, *, num_classes: int, shape: tuple[int, int, int], settings: ExpertSettings, data_name: str
) -> dict[str, Any]:
    """What identifies a training, as it comes back from JSON."""
    space = dataclasses.asdict(real.space.space)
    fields = {
        "format": "experts 1",
        "settings": settings.fields(),
        "shape": shape,
        "num_classes": num_classes,
        "data": {"name": data_name, "num_images": len(real), "digest": real.digest(), "space": space},
    }
    loaded: dict[str, Any] = json.loads(json.dumps(fields))
    return loaded
