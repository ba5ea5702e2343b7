"""What distilled bytes are worth: accuracy at several sizes, beside rivals of the same size, all through `rdd`.

    python -m benchmarks.distillation RECIPE [--root PATH] --targets 0.2 0.3 --runs FOLDER [--spc-per-kb N]
        [--protocol P] [--pixels RECIPE] [--set KEY=VALUE] [--eval-set KEY=VALUE] [--name NAME]

For each target in kB per class: `rdd train` (resumed if it was interrupted), then `rdd eval` of the distilled file, of
the overfitted one that it started from, and of real images as PNG, JPEG, WebP and lossless .rdd in as many bytes. With
--pixels also the same loss on plain pixels, with as many samples as fit as float32, as float16 and as 8 bits. Writes
the result after every target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import write_result
from rducodec.training.data import load_data
from rducodec.training.distillation.configuration import Configuration, read_configuration

BYTES_PER_KB = 1024
PIXEL_NUMBERS = {"float32": 4, "float16": 2, "8 bits": 1}  # bytes a value, uncoded


def rdd(*arguments: str) -> Any:
    """JSON output of an `rdd` command; its progress goes to the terminal."""
    done = subprocess.run(["rdd", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def train(recipe: str, folder: Path, data: Sequence[str], changes: Sequence[str]) -> None:
    """Make the files of one run, if they are not there."""
    if not (folder / "distilled.rdd").exists():
        pairs = [part for change in changes for part in ("--set", change)]
        rdd("train", recipe, str(folder), *data, *pairs)


def evaluate(
    files: Sequence[Path], configuration: Configuration, arguments: argparse.Namespace, *more: str
) -> dict[str, Any]:
    """The document of `rdd eval`."""
    options = ["--data", configuration.data.name, "--protocol", arguments.protocol]
    options += ["--networks", str(arguments.networks), *more]
    options += [part for change in arguments.eval_set for part in ("--set", change)]
    classes = configuration.data.classes
    options += ["--classes", ",".join(map(str, classes))] if classes else []
    options += ["--mixed-precision"] if arguments.mixed_precision else []
    options += ["--cache", str(arguments.cache)] if arguments.cache else []
    options += ["--root", str(arguments.root)] if arguments.root else []
    result: dict[str, Any] = rdd("eval", *map(str, files), *options)
    return result


def pixel_runs(target: float, arguments: argparse.Namespace, data: Sequence[str]) -> list[Path]:
    """Files of plain pixels that take at most the target."""
    files = []
    shape = load_data(read_configuration(arguments.pixels).data.name, arguments.root).train.shape
    for number, num_bytes in PIXEL_NUMBERS.items():
        spc = int(target * BYTES_PER_KB / (shape[0] * shape[1] * shape[2] * num_bytes))
        if spc < 1:
            continue
        folder = arguments.runs / f"pixels-{target}kB-{number}"
        train(arguments.pixels, folder, data, [f"samples.spc={spc}", f"export.number={number}"])
        files.append(folder / "distilled.rdd")
    return files


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    size = f"{row['bytes_per_class'] / BYTES_PER_KB:.3f}" if row["bytes_per_class"] else "-"
    count = row["num_samples"] / row["num_classes"]
    return (
        f"  {row['name'][-60:]:60} {size:>8} kB {count:7.4g} a class  {100 * row['mean']:.1f} ± {100 * row['std']:.1f}"
    )


def main() -> None:
    """Run everything, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--targets", type=float, nargs="+", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--name", help="Of the result file.")
    parser.add_argument("--protocol", default="digits")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--pixels", help="Recipe of the same loss on plain pixels.")
    parser.add_argument("--spc-per-kb", type=float, help="Samples of a class follow the target.")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--eval-set", action="append", default=[])
    arguments = parser.parse_args()
    configuration = read_configuration(arguments.recipe, arguments.set)
    data = ["--root", str(arguments.root)] if arguments.root else []
    data += ["--cache", str(arguments.cache)] if arguments.cache else []
    result: dict[str, Any] = {"configuration": configuration.fields(), "protocol": arguments.protocol, "targets": []}
    for target in arguments.targets:
        folder = arguments.runs / f"{target}kB"
        changes = [*arguments.set, f"export.target_bpc={target}"]
        if arguments.spc_per_kb is not None:
            changes.append(f"samples.spc={max(1, round(target * arguments.spc_per_kb))}")
        train(arguments.recipe, folder, data, changes)
        files = [folder / "distilled.rdd", folder / "overfitted.rdd"]
        files += pixel_runs(target, arguments, data) if arguments.pixels else []
        document = evaluate(files[:1], configuration, arguments, "--baselines")  # in the bytes of the distilled file
        rows = document.pop("rows") + evaluate(files[1:], configuration, arguments)["rows"]
        for row in rows:
            row["name"] = row["name"].removeprefix(f"{arguments.runs}/")
        print(f"{target} kB per class", *map(line, rows), sep="\n", flush=True)
        log = (folder / "log.csv").read_text().splitlines()
        result["targets"].append(
            {
                "target_kb": target,
                "rows": rows,
                "last_log_line": dict(zip(*(each.split(",") for each in (log[0], log[-1])), strict=True)),
            }
        )
        result["evaluation"] = document
        write_result(arguments.name or f"distillation_{arguments.recipe}", result)


if __name__ == "__main__":
    sys.exit(main())
