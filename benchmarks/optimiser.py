"""Overfitted compression with the published optimiser and with ours, on the same images, at the same weights of bits.

    python -m benchmarks.optimiser [--steps N...] [--data NAME --root PATH --cache PATH]

The published one: Adam with second moments of 0.999 and a rate of 1e-2 for latents and all networks. Beside it the same
moments with our rates. The cost that all of them lower is MSE + lmbda * bits per pixel, networks included, estimated
for integers; without --data the embedded digits alone are compressed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
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
from rducodec.training.schedule import BETA2, rate_shares

CASES: list[tuple[str, list[str], float]] = [
    ("digits", [], 0.2),
    ("digits", [], 0.02),
    ("cifar10-small-dm", ["samples.networks=file"], 0.013),
    ("cifar10-small-dm", ["data.classes=[0,1]", "samples.decoder=v4-480", "samples.entropy=16x4"], 0.013),
]


def one_rate(config: LatentConfig) -> list[float]:
    """All tensors learn at the rate of the latents."""
    return [1.0] * (1 + len(config.tensor_shapes()))


OPTIMISERS: dict[str, tuple[float, Callable[[LatentConfig], list[float]]]] = {
    "published": (0.999, one_rate),
    "0.999, our rates": (0.999, rate_shares),
    "ours": (BETA2, rate_shares),
}


def trained(distillation: Distillation, name: str, steps: int, lmbda: float) -> dict[str, Any]:
    """Cost, size and quality in the end."""
    plan, reports = distillation.plan, list[Progress]()
    beta2, shares = OPTIMISERS[name]
    begin = time.perf_counter()
    with (
        patch("rducodec.training.trainer.BETA2", beta2),
        patch("rducodec.training.trainer.rate_shares", shares),
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


def main() -> None:
    """Print a line for each training, store all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[400])
    parser.add_argument("--data")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    cases: list[dict[str, Any]] = []
    for steps in arguments.steps:
        for recipe, changes, lmbda in CASES:
            changed = list(changes)
            if recipe != "digits":
                if arguments.data is None:
                    continue
                changed.append(f"data.name={arguments.data}")
            configuration = read_configuration(recipe, changed)
            root = None if recipe == "digits" else arguments.root
            split = load_data(configuration.data.name, root, cache=arguments.cache)
            distillation = Distillation(configuration, split, Path("unused"))
            print(f"{recipe} {' '.join(changes)}, {steps} steps, lmbda {lmbda:g}")
            rows = [trained(distillation, name, steps, lmbda) for name in OPTIMISERS]
            for row in rows:
                row["cost_ratio"] = row["cost"] / rows[0]["cost"]
                print(
                    f"  {row['optimiser']:18} cost {row['cost']:.5f} = {row['cost_ratio']:.3f} of published, "
                    f"{row['kilobytes_per_class']:.3f} kB per class, {row['psnr']:.2f} dB, {row['seconds']:.0f} s",
                    flush=True,
                )
            cases.append({"recipe": recipe, "changes": changes, "steps": steps, "lmbda": lmbda, "rows": rows})
            write_result("optimiser", {"cases": cases})


if __name__ == "__main__":
    main()
