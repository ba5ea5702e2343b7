"""A distillation of digits that takes seconds; as a program, one process of a group, or one that is killed.

`python -m tests.training.distillation.small FOLDER KILL_AT NAME=VALUE...`: KILL_AT is an iteration, 0 for none.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from rducodec.training.data import DataSplit, LabelledImages, load_data
from rducodec.training.distillation.configuration import Configuration, configuration_of
from rducodec.training.distillation.run import Distillation, Distilled, Reports
from rducodec.training.distillation.trainer import JointProgress
from rducodec.training.group import joined_group

CPU = torch.device("cpu")


@cache
def digits(num_classes: int = 10) -> DataSplit:
    """The first classes of the embedded digits."""
    data = load_data("digits")
    rows = data.train.labels < num_classes
    train = LabelledImages(data.train.images[rows], data.train.labels[rows], data.train.class_names[:num_classes])
    return DataSplit(data.name, train)


def configuration(**changes: Any) -> Configuration:
    """Tables of a configuration, `changes` as table__name=value."""
    fields: dict[str, dict[str, Any]] = {
        "data": {"name": "digits"},
        "samples": {"spc": 3, "decoder": "2", "entropy": "8x1", "slice_size": 2},
        "initial": {"steps": 20, "lmbda": 1e-3},
        "utility": {
            "loss": "dm",
            "options": {"real_batch": 6},
            "network_options": {"width": 4, "depth": 1},
            "augmentation": "crop_scale_rotate",
        },
        "joint": {
            "iterations": 6,
            "learning_rate": 2e-2,
            "lmbda": [300.0, 100.0],
            "checkpoint_interval": 1,
            "report_interval": 1,
        },
        "export": {"thresholds": [1e-3]},
    }
    for name, value in changes.items():
        table, key = name.split("__")
        fields[table][key] = value
    return configuration_of(fields)


def distil(folder: Path, *, num_classes: int = 2, reports: Reports | None = None, **changes: Any) -> Distilled:
    """A whole run."""
    chosen = configuration(**changes)
    split = digits(num_classes).of_classes(chosen.data.classes)
    return Distillation(chosen, split, folder, CPU, reports=reports or Reports()).run()


def environment(rank: int = 0, *, size: int = 1, port: int = 0) -> Mapping[str, str]:
    """As torchrun sets it."""
    group = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return os.environ | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in group.items()}


def main(folder: str, kill_at: str, *changes: str) -> None:
    """One process."""
    torch.set_num_threads(1)

    def report(progress: JointProgress) -> None:
        if progress.iteration == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    named = {name: int(value) for name, value in (change.split("=") for change in changes)}
    options: dict[str, Any] = {}
    if named:
        options = {"utility__options": {"real_batch": named["real_batch"]}, "joint__iterations": named["iterations"]}
    with joined_group(CPU) as group:
        chosen = configuration(**options)
        done = Distillation(chosen, digits(2), Path(folder), CPU, group, Reports(joint=report)).run()
        (Path(folder) / f"rank{group.rank}.txt").write_text(f"{done.exported.data.hex()} {done.exported.mse!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
