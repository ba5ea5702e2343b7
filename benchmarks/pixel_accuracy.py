"""Distilled float pixels in fewer bits: what the numbers of a file take, and what classifiers learn from them.

    python -m benchmarks.pixel_accuracy [--recipe digits-pixels] [--root PATH] [--set samples.spc=10] --runs FOLDER

`rdd train` distils a set of plain pixels (once: a run that is in FOLDER is taken). It is kept as float32, as float16,
and by 2^8, 2^4, 2^3, 2^2 and 2 learned levels (`rdd encode --bits`). Every file is decoded and tested alike, by the
protocol of the recipe unless --protocol says another.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import rducodec
from benchmarks.distillation import line, train
from benchmarks.pixels import float_files
from benchmarks.report import write_result
from rducodec.interop.source import make_source
from rducodec.training.data import load_data
from rducodec.training.distillation.configuration import read_configuration
from rducodec.training.evaluation.evaluator import Evaluator, evaluate_files
from rducodec.training.evaluation.protocols import named_protocol


def main() -> None:
    """Distil, encode, test; print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits-pixels")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--protocol")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--name", default="pixel_accuracy", help="of the result file")
    arguments = parser.parse_args()
    configuration = read_configuration(arguments.recipe, arguments.set)
    places = {name: getattr(arguments, name) for name in ("root", "cache")}
    options = [text for name, place in places.items() if place for text in (f"--{name}", str(place))]
    train(arguments.recipe, arguments.runs, options, arguments.set)

    distilled = rducodec.read(arguments.runs / "distilled.rdd")
    source = make_source(
        distilled.samples(), distilled.labels, space=distilled.header.space, num_classes=distilled.header.num_classes
    )
    paths = []
    for name, data in float_files(source).items():
        paths.append(arguments.runs / f"{name.replace(' ', '-')}.rdd")
        paths[-1].write_bytes(data)

    data = load_data(configuration.data.name, classes=configuration.data.classes, **places)
    evaluator = Evaluator(data, torch.device("cpu"), num_networks=arguments.networks)
    protocol = named_protocol(arguments.protocol or configuration.evaluation.protocol)
    rows = [row.fields() for row in evaluate_files(paths, evaluator, [protocol])]
    result: dict[str, Any] = {"configuration": configuration.fields(), "rows": rows}
    for row in rows:
        row["name"] = Path(row["name"]).name
        print(line(row), flush=True)
    print(write_result(arguments.name, result))


if __name__ == "__main__":
    main()
