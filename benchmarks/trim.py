"""What the last percents to a target size cost: a trained state trimmed to shares of its bits, in several ways.

    python -m benchmarks.trim [--steps N] [--data NAME --root PATH --cache PATH]

The rival: latents move towards zero, by the mean curvature of their scale, as encoders of video do it. Beside it each
part of ours: to the side where the bits fall; by the curvature of each latent, alone or half and half with the mean.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.optimiser import data_options, prepared
from benchmarks.report import write_result
from rducodec.rate import BITS_PER_KB
from rducodec.training import OverfitSettings, trim
from rducodec.training.objective import Distortion, Objective
from rducodec.training.parameters import SliceParameters
from rducodec.training.trainer import _Trainer

SHARES = (0.995, 0.98, 0.95)
CASES: list[tuple[str, list[str], float]] = [
    ("digits", [], 0.3),
    ("cifar10-small-dm", ["samples.networks=file"], 4.0),
]
_GRADIENT = trim._gradient


def towards_zero(
    objective: Objective, parameters: SliceParameters, distortion: Distortion | bool, *, lmbda: float
) -> Tensor:
    """The sign of the latents where the gradient of the bits is asked for."""
    return parameters.latents.sign() if lmbda else _GRADIENT(objective, parameters, distortion, lmbda=lmbda)


WAYS = {
    "towards zero, mean": (towards_zero, 1.0),
    "towards zero, half": (towards_zero, trim.MEAN_SHARE),
    "fewer bits, mean": (_GRADIENT, 1.0),
    "fewer bits, own": (_GRADIENT, 0.0),
    "ours": (_GRADIENT, trim.MEAN_SHARE),
}


class _TrainedError(Exception):
    """Carries the state that would be trimmed."""


def _stop(trainer: _Trainer) -> None:
    raise _TrainedError(trainer)


def trained(recipe: str, changes: list[str], kilobytes: float, arguments: argparse.Namespace) -> _Trainer:
    """The state at the end of an overfitted compression to a size, not trimmed yet."""
    distillation = prepared(recipe, changes, arguments)
    plan = distillation.plan
    classes = plan.trained_classes()
    bits = kilobytes * BITS_PER_KB * distillation.train.num_classes
    settings = OverfitSettings(steps=arguments.steps, target_bits_per_class=bits / len(set(classes)))
    trainer = _Trainer(plan.trained_parts(), plan.config, settings, classes=classes, checkpoint=None, progress=None)
    with patch.object(_Trainer, "_trim", _stop):
        try:
            trainer.run()
        except _TrainedError:
            return trainer
    raise RuntimeError("a training ended without a trim")


def trimmed(trainer: _Trainer, name: str, share: float) -> dict[str, Any]:
    """Loss of quality and time."""
    objective, parameters = trainer.objective, trainer.state.parameters
    before = objective.evaluate(parameters)
    gradient, mean_share = WAYS[name]
    begin = time.perf_counter()
    with patch.object(trim, "_gradient", gradient), patch.object(trim, "MEAN_SHARE", mean_share):
        latents = trim.trimmed_latents(
            objective,
            parameters,
            max_bits=share * float(before.bits.sum()),
            lmbda=trainer.state.control.lmbda,
            generator=torch.Generator().manual_seed(0),
        )
    seconds = time.perf_counter() - begin
    if latents is None:
        return {"way": name, "share": share, "loss_db": None, "seconds": seconds}
    after = objective.evaluate(replace(parameters, latents=latents))
    weight = objective.samples.counts()
    ratio = float((after.mse * weight).sum() / (before.mse * weight).sum())
    return {"way": name, "share": share, "loss_db": 10 * math.log10(ratio), "seconds": seconds}


def main() -> None:
    """Print a line for each trim, store all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    data_options(parser)
    arguments = parser.parse_args()
    cases: list[dict[str, Any]] = []
    for recipe, changes, kilobytes in CASES:
        if recipe != "digits" and arguments.data is None:
            continue
        print(f"{recipe} {' '.join(changes)}, {kilobytes} kB per class, {arguments.steps} steps")
        trainer = trained(recipe, changes, kilobytes, arguments)
        rows = []
        for share in SHARES:
            for name in WAYS:
                row = trimmed(trainer, name, share)
                loss = "not reached" if row["loss_db"] is None else f"{row['loss_db']:.3f} dB less"
                print(f"  {share:.3f} of the bits, {name:18} {loss}, {row['seconds']:.1f} s", flush=True)
                rows.append(row)
        cases.append({"recipe": recipe, "changes": changes, "kilobytes_per_class": kilobytes, "rows": rows})
        write_result("trim", {"steps": arguments.steps, "cases": cases})


if __name__ == "__main__":
    main()
