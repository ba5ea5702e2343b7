"""Overfitted compression with the published optimiser and with ours, on the same images, at the same weights of bits.

    python -m benchmarks.optimiser [--steps N...] [--data NAME --root PATH --cache PATH]

The published one: Adam with second moments of 0.999, a rate of 1e-2 for latents and all networks, a tenth of the steps
with straight-through rounding at 1e-4 before the last stage. Each further row changes one of these. The cost that all
of them lower is MSE + lmbda * bits per pixel, networks included, estimated for integers; without --data the embedded
digits alone are compressed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.report import write_result
from rducodec.model import LatentConfig
from rducodec.rate import BITS_PER_KB
from rducodec.training import OverfitSettings, Progress, overfit
from rducodec.training.data import load_data
from rducodec.training.distillation.configuration import read_configuration
from rducodec.training.distillation.run import Distillation
from rducodec.training.objective import Rounding
from rducodec.training.rounding import straight_through_round
from rducodec.training.schedule import OVERFIT_BETA2, Noise, Stage, rate_shares, stages
from rducodec.training.trainer import _Trainer

CASES: list[tuple[str, list[str], float]] = [
    ("digits", [], 0.2),
    ("digits", [], 0.02),
    ("cifar10-small-dm", ["samples.networks=file"], 0.013),
    ("cifar10-small-dm", ["data.classes=[0,1]", "samples.decoder=v4-480", "samples.entropy=16x4"], 0.013),
]


STRAIGHT_THROUGH = "straight-through"
STRAIGHT_THROUGH_SHARE = 0.1  # of the steps
STRAIGHT_THROUGH_RATE = 1e-4


def one_rate(config: LatentConfig) -> list[float]:
    """All tensors learn at the rate of the latents."""
    return [1.0] * (1 + len(config.tensor_shapes()))


def published_stages(steps: int, *, candidates: int) -> tuple[Stage, ...]:
    """A part of the soft rounding gives way to straight-through rounding."""
    *warm_ups, soft, latents = stages(steps, candidates=candidates)
    straight = max(1, round(steps * STRAIGHT_THROUGH_SHARE))
    rates = (STRAIGHT_THROUGH_RATE, STRAIGHT_THROUGH_RATE)
    return (
        *warm_ups,
        replace(soft, steps=soft.steps - straight),
        Stage(STRAIGHT_THROUGH, straight, Noise.GAUSSIAN, rates),
        latents,
    )


def published_rounding(trainer: _Trainer, stage: Stage) -> Rounding:
    """As the trainer has it, straight-through in the stage of this name."""
    if stage.name == STRAIGHT_THROUGH:
        return lambda latents, _: straight_through_round(latents)
    return _OUR_ROUNDING(trainer, stage)


_OUR_ROUNDING = _Trainer._rounding


@dataclass(frozen=True)
class Optimiser:
    """What a training is done with."""

    beta2: float
    shares: Callable[[LatentConfig], list[float]]
    stages: Callable[..., tuple[Stage, ...]]


OPTIMISERS = {
    "published": Optimiser(0.999, one_rate, published_stages),
    "+ our rates": Optimiser(0.999, rate_shares, published_stages),
    "+ moments of 0.9": Optimiser(OVERFIT_BETA2, rate_shares, published_stages),
    "+ our stages = ours": Optimiser(OVERFIT_BETA2, rate_shares, stages),
}


def trained(distillation: Distillation, name: str, steps: int, lmbda: float) -> dict[str, Any]:
    """Cost, size and quality in the end."""
    plan, reports = distillation.plan, list[Progress]()
    optimiser = OPTIMISERS[name]
    begin = time.perf_counter()
    with (
        patch("rducodec.training.trainer.OVERFIT_BETA2", optimiser.beta2),
        patch("rducodec.training.trainer.rate_shares", optimiser.shares),
        patch("rducodec.training.trainer.stages", optimiser.stages),
        patch.object(_Trainer, "_rounding", published_rounding),
    ):
        settings = OverfitSettings(steps=steps, lmbda=lmbda)
        classes = plan.trained_classes()
        overfit(plan.trained_parts(), plan.config, settings, classes=classes, progress=reports.append)
    pixels = sum(map(len, plan.parts)) * plan.config.height * plan.config.width
    last = reports[-1]
    return {
        "optimiser": name,
        "cost": last.mse + lmbda * last.num_bits / pixels,
        "kilobytes_per_class": last.num_bits / BITS_PER_KB / distillation.train.num_classes,
        "psnr": last.psnr,
        "seconds": time.perf_counter() - begin,
    }


def data_options(parser: argparse.ArgumentParser) -> None:
    """Where images lie that are not embedded."""
    parser.add_argument("--data")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)


def prepared(recipe: str, changes: list[str], arguments: argparse.Namespace) -> Distillation:
    """A recipe with its images read; nothing is written."""
    embedded = recipe == "digits"
    configuration = read_configuration(recipe, changes if embedded else [*changes, f"data.name={arguments.data}"])
    root = None if embedded else arguments.root
    data = configuration.data
    split = load_data(data.name, root, size=data.size, classes=data.classes, cache=arguments.cache)
    return Distillation(configuration, split, Path("unused"))


def main() -> None:
    """Print a line for each training, store all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[400])
    data_options(parser)
    arguments = parser.parse_args()
    cases: list[dict[str, Any]] = []
    for steps in arguments.steps:
        for recipe, changes, lmbda in CASES:
            if recipe != "digits" and arguments.data is None:
                continue
            distillation = prepared(recipe, changes, arguments)
            print(f"{recipe} {' '.join(changes)}, {steps} steps, lmbda {lmbda:g}")
            rows = [trained(distillation, name, steps, lmbda) for name in OPTIMISERS]
            for row in rows:
                row["cost_ratio"] = row["cost"] / rows[0]["cost"]
                print(
                    f"  {row['optimiser']:19} cost {row['cost']:.5f} = {row['cost_ratio']:.3f} of published, "
                    f"{row['kilobytes_per_class']:.3f} kB per class, {row['psnr']:.2f} dB, {row['seconds']:.0f} s",
                    flush=True,
                )
            cases.append({"recipe": recipe, "changes": changes, "steps": steps, "lmbda": lmbda, "rows": rows})
            write_result("optimiser", {"cases": cases})


if __name__ == "__main__":
    main()
