"""What distilled bytes are worth: accuracy at several sizes, beside rivals of the same size.

    python -m benchmarks.distillation RECIPE... [--root PATH] --targets 0.2 0.3 --runs FOLDER [--spc-per-kb N]
        [--protocol P] [--pixels] [--pixels-set KEY=VALUE] [--full-data] [--full-networks N]
        [--files-only] [--set KEY=VALUE] [--eval-set KEY=VALUE] [--device cuda] [--name NAME]

For each target in kB per class and each recipe: `rdd train` (after `rdd experts` where the loss follows them; resumed
if it was interrupted), then `rdd eval` of the distilled file, of the overfitted one that it started from, and of real
images as 8-bit pixels, PNG, JPEG, WebP and lossless .rdd in as many bytes. With --pixels also the losses of these
recipes on plain pixels, changed by --pixels-set, with as many samples as fit as float32, float16, 8, 4 and 2 bits; with
--full-data all real images; --files-only leaves out the real images, which take longest to choose and test. Evaluations
that are done are kept in FOLDER; the result is written after every target.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import write_result
from rducodec.training.data import load_data
from rducodec.training.distillation import Reports
from rducodec.training.distillation.configuration import PIXEL_NUMBERS, Configuration, read_configuration
from rducodec.training.distillation.folder import configuration_of_run
from rducodec.training.distillation.plain import PlainPixels

BYTES_PER_KB = 1024
KEY_DIGITS = 12  # of the name of an evaluation that is kept


def rdd(*arguments: str) -> Any:
    """JSON output of an `rdd` command; its progress goes to the terminal."""
    done = subprocess.run(["rdd", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def train(recipe: str, folder: Path, data: Sequence[str], changes: Sequence[str]) -> None:
    """Make the files of one run, if they are not there."""
    if (folder / "distilled.rdd").exists():
        return
    pairs = [part for change in changes for part in ("--set", change)]
    experts: list[str] = []
    if read_configuration(recipe, changes).utility.loss == "tm":
        place = folder.parent / f"experts-{recipe}"  # they depend on no size
        rdd("experts", recipe, str(place), *data, *pairs)
        experts = ["--experts", str(place)]
    rdd("train", recipe, str(folder), *data, *pairs, *experts)


def evaluate(
    files: Sequence[Path], configuration: Configuration, arguments: argparse.Namespace, *more: str, networks: int
) -> dict[str, Any]:
    """The document of `rdd eval`, from an earlier call of this benchmark if it had the same files and options."""
    options = ["--data", configuration.data.name, "--protocol", arguments.protocol]
    options += ["--networks", str(networks), *more]
    options += [part for change in arguments.eval_set for part in ("--set", change)]
    classes = configuration.data.classes
    options += ["--classes", ",".join(map(str, classes))] if classes else []
    options += ["--mixed-precision"] if arguments.mixed_precision else []
    options += ["--cache", str(arguments.cache)] if arguments.cache else []
    options += ["--root", str(arguments.root)] if arguments.root else []
    options += ["--device", arguments.device] if arguments.device else []
    key = hashlib.sha256(json.dumps(options).encode())
    for file in files:
        key.update(file.read_bytes())
    kept = arguments.runs / f"eval-{key.hexdigest()[:KEY_DIGITS]}.json"
    if not kept.exists():
        kept.write_text(json.dumps(rdd("eval", *map(str, files), *options)))
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def pixel_files(folder: Path, arguments: argparse.Namespace) -> list[Path]:
    """Files of plain pixels for the loss of a run, in at most the bytes of its file, stored in every way that fits."""
    configuration = configuration_of_run(folder)
    if configuration is None:
        raise FileNotFoundError(folder)
    data, size = configuration.data, (folder / "distilled.rdd").stat().st_size
    split = load_data(data.name, arguments.root, size=data.size, classes=data.classes, cache=arguments.cache)
    device, reports = torch.device(arguments.device or "cpu"), Reports(say=print)
    makes = PlainPixels(configuration, split, folder, size, arguments.pixels_set, device, reports)
    made = [makes.made(number) for number in PIXEL_NUMBERS]
    return [file for file in made if file is not None]


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    size = f"{row['bytes_per_class'] / BYTES_PER_KB:.3f}" if row["bytes_per_class"] else "-"
    count = row["num_samples"] / row["num_classes"]
    return (
        f"  {row['name'][-60:]:60} {size:>8} kB {count:7.4g} a class  {100 * row['mean']:.1f} ± {100 * row['std']:.1f}"
    )


def last_log_line(folder: Path) -> dict[str, str]:
    """The state at the end of a run."""
    log = (folder / "log.csv").read_text().splitlines()
    return dict(zip(*(each.split(",") for each in (log[0], log[-1])), strict=True))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--targets", type=float, nargs="+", required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--name", help="Of the result file.")
    parser.add_argument("--protocol", default="digits")
    parser.add_argument("--device", help="Of trainings and evaluations; the CPU if not given.")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--full-data", action="store_true")
    parser.add_argument("--full-networks", type=int, default=5, help="Of --full-data, which takes longest.")
    parser.add_argument("--files-only", action="store_true", help="No real images: to choose and test them takes long.")
    parser.add_argument("--pixels", action="store_true", help="The losses on plain pixels, too.")
    parser.add_argument("--pixels-set", action="append", default=[])
    parser.add_argument("--spc-per-kb", type=float, help="Samples of a class follow the target.")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--eval-set", action="append", default=[])
    return parser.parse_args()


def main() -> None:
    """Run everything, print the table, write the result."""
    arguments = parsed()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    configurations = {recipe: read_configuration(recipe, arguments.set) for recipe in arguments.recipes}
    first = next(iter(configurations.values()))
    data = ["--root", str(arguments.root)] if arguments.root else []
    data += ["--cache", str(arguments.cache)] if arguments.cache else []
    data += ["--device", arguments.device] if arguments.device else []
    result: dict[str, Any] = {
        "configurations": {recipe: each.fields() for recipe, each in configurations.items()},
        "targets": [],
    }
    for target in arguments.targets:
        changes = [*arguments.set, f"export.target_bpc={target}"]
        if arguments.spc_per_kb is not None:
            changes.append(f"samples.spc={max(1, round(target * arguments.spc_per_kb))}")
        folders = {recipe: arguments.runs / f"{recipe}-{target}kB" for recipe in arguments.recipes}
        for recipe, folder in folders.items():
            train(recipe, folder, data, changes)
        files = [folder / f"{name}.rdd" for folder in folders.values() for name in ("distilled", "overfitted")]
        files += [file for folder in folders.values() if arguments.pixels for file in pixel_files(folder, arguments)]
        baselines = [] if arguments.files_only else ["--baselines"]
        networks = arguments.networks
        # The rivals are in the bytes of the first distilled file.
        document = evaluate(files[:1], first, arguments, *baselines, networks=networks)
        rows, stores = document.pop("rows"), document.pop("real_image_stores", [])
        done = {row["name"] for row in rows}  # the overfitted file beside it is a rival, too
        if others := [file for file in files if str(file) not in done]:
            rows += evaluate(others, first, arguments, networks=networks)["rows"]
        if arguments.full_data:
            rows += evaluate([], first, arguments, "--full-data", networks=arguments.full_networks)["rows"]
        for row in rows:
            row["name"] = row["name"].replace(f"{arguments.runs}/", "")
            row["remarks"] = [remark.replace(f"{arguments.runs}/", "") for remark in row["remarks"]]
        print(f"{target} kB per class", *map(line, rows), sep="\n", flush=True)
        ends = {recipe: last_log_line(folder) for recipe, folder in folders.items()}
        result["targets"].append(
            {"target_kb": target, "rows": rows, "real_image_stores": stores, "last_log_lines": ends}
        )
        result["evaluation"] = document
        write_result(arguments.name or f"distillation_{'_'.join(arguments.recipes)}", result)


if __name__ == "__main__":
    sys.exit(main())
