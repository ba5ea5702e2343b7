"""Every way to fewer bits in one table: checkpoints and files before and after, beside the published rule and codec.

    python -m benchmarks.fewer_bits --pool pool.pt --codec 12703,11438,10304 [--own FOLDER --images IMAGES]
        [--limits 5e-6] [--file some.rdd ...] [--efforts 3,5] [--resume]

Checkpoints: --pool at the three published limits of the mean squared error or at others, and with --own the two of
`benchmarks.make_pool` at the middle one, made in FOLDER where they are not there; all steps of
`benchmarks.checkpoints` at the last effort. Beside the whole files stand the published estimate (which counts neither
header nor labels) and, as told by --codec, what the published codec wrote of --pool (it is not run here); beside
latents and entropy networks those of the estimate. The error is that of the worst slice. Seconds are those of one step.

Files (--file): parts before and after each effort, and their information. For labels and pixels, the results of
`benchmarks.soft_labels` (the default one and soft_labels_finer), `label_students` and `pixel_accuracy` are collected.

Writes results/NAME.json and the table, NAME.md, after every row. --resume keeps the rows of the same input, limit and
efforts: for runs that were interrupted, of the same code.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks import checkpoints, recompress
from benchmarks.report import RESULTS, write_result
from rducodec.rate import PARTS

CODEC_SHARE = 0.80  # of what the published codec wrote, that a file should take at most
REFIT_SHARE = 0.94  # of the published rule, that latents and entropy networks of the same samples should take at most
LABEL_FACTOR = 3.0  # under Eq. 17, that the labels of a classifier should take
LABEL_RESULTS = ("soft_labels", "soft_labels_finer")
COLLECTED = (*LABEL_RESULTS, "label_students", "pixel_accuracy")
STUDENT_ARMS = ("exact", "coded", "hard")

Row = dict[str, Any]
Job = tuple[Path, float | None, int | None]  # a checkpoint, its limit and the codec's bytes; a file has neither


def pool_row(path: Path, max_mse: float, codec_bytes: int | None, effort: int) -> Row:
    """A checkpoint at one limit, all steps."""
    made = path.with_suffix(".json")
    fields = {"made": json.loads(made.read_text())} if made.exists() else {}
    return checkpoints.measure(checkpoints.read_pool(path), max_mse, codec_bytes, effort) | fields


def file_row(path: Path, efforts: list[int]) -> Row:
    """A file before and after."""
    data = path.read_bytes()
    return recompress.measure(data, recompress.rule_of_file(data), efforts)


def collected() -> dict[str, Row]:
    """Results of the other commands, where they are."""
    found = {}
    for name in COLLECTED:
        place = RESULTS / f"{name}.json"
        if place.exists():
            found[name] = json.loads(place.read_text())
    return found


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown; the first column is text."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(value: float | None, target: float) -> str:
    """A share, bold where it meets a target that it has."""
    if value is None:
        return "–"
    return f"**{value:.3f}**" if value <= target else f"{value:.3f}"


def pool_lines(rows: list[Row]) -> str:
    """All checkpoints, limits and steps."""
    header = ["checkpoint", "limit", "step", "file, bytes", "of the estimate", "of the codec", "refit, of the rule"]
    lines = []
    for row in rows:
        for step in row["steps"]:
            cells = [row["name"], f"{row['max_mse']:.0e}", step["step"], f"{step['file']:,.0f}"]
            cells += [f"{step['file_over_estimate']:.3f}", share(step.get("file_over_codec"), CODEC_SHARE)]
            cells += [share(step["both_over_rule"], REFIT_SHARE), f"{step['largest_mse']:.2e}"]
            lines.append([*cells, f"{step['seconds']:.1f}"])
    return table([*header, "error", "seconds"], lines)


def file_lines(row: Row) -> str:
    """Parts of one file, with each effort."""
    columns = [row["before"], *row["after"]]
    header = ["bytes", "before", *(f"effort {after['effort']}" for after in row["after"])]
    lines = []
    for part in PARTS:
        lines.append([part.replace("_", " "), *(f"{column[part]:,.1f}" for column in columns)])
        if part in row["before"]["information"]:
            lines.append(["their information", *(f"{column['information'][part]:,.1f}" for column in columns)])
    lines.append(["file", *(f"{column['file']:,.0f}" for column in columns)])
    refit = ["–", *(share(after["both_over_rule"], REFIT_SHARE) for after in row["after"])]
    lines.append(["latents and entropy networks, of the rule", *refit])
    lines.append(["seconds", "", *(f"{after['seconds']:.1f}" for after in row["after"])])
    lines.append(["samples identical", "", *("yes" if after["same_digest"] else "no" for after in row["after"])])
    return table(header, lines)


def label_lines(sets: dict[str, Row]) -> str:
    """Bits of soft labels."""
    lines = []
    for name, row in sets.items():
        factor = f"{row['eq_17_over_bits']:.2f}"
        factor = f"**{factor}**" if row["eq_17_over_bits"] >= LABEL_FACTOR else factor
        cells = [f"{row[key]:,.1f}" for key in ("bits", "eq_17_bits", "float16_zstd_bits", "float32_bits")]
        lines.append([name, *cells, factor])
    return table(["labels", "bits each", "Eq. 17", "float16 + zstd", "float32", "Eq. 17 over bits"], lines)


def accuracy(row: Row) -> str:
    """In percent, with the spread over the networks."""
    return f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"


def document(rows: dict[str, Row], others: dict[str, Row]) -> str:
    """The whole table as Markdown."""
    pools = [row for row in rows.values() if "steps" in row]
    targets = f"Bold: at most {CODEC_SHARE} of the codec, {REFIT_SHARE} of the rule, a factor of {LABEL_FACTOR:g}."
    parts = ["# Fewer bits", f"Made by `python -m benchmarks.fewer_bits`. {targets}"]
    parts += [f"## Checkpoints\n\n{pool_lines(pools)}"] if pools else []
    for row in rows.values():
        if "before" in row:
            parts.append(f"## {row['name']}: {row['samples']} samples, {row['slices']} slices\n\n{file_lines(row)}")
    labels = {name: row for key in LABEL_RESULTS if key in others for name, row in others[key]["sets"].items()}
    parts += [f"## Soft labels\n\n{label_lines(labels)}"] if labels else []
    if "label_students" in others:
        students = others["label_students"]["students"]
        lines = [[name, accuracy(students[name])] for name in STUDENT_ARMS]
        parts.append(f"## Students\n\n{table(['labels', 'test accuracy, %'], lines)}")
    if "pixel_accuracy" in others:
        lines = [
            [row["name"], f"{row['bytes_per_class']:,.0f}", accuracy(row)] for row in others["pixel_accuracy"]["rows"]
        ]
        parts.append(f"## Distilled pixels\n\n{table(['file', 'bytes a class', 'test accuracy, %'], lines)}")
    return "\n\n".join(parts) + "\n"


def own_pools(folder: Path, images: Path) -> list[Path]:
    """Checkpoints of our own, made where they are missing."""
    from benchmarks.make_pool import make_pool  # needs torch, and scikit-learn for the photographs

    sources: dict[str, Path | None] = {"cifar-2x64.pt": images, "photographs-2x8.pt": None}
    for name, source in sources.items():
        if not (folder / name).exists():
            make_pool(folder / name, source)
    return [folder / name for name in sources]


def main() -> None:
    """All rows, one after the other; written as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--limits", default=",".join(map(str, checkpoints.LIMITS)), help="of the squared error of it")
    parser.add_argument("--codec", help="bytes that the published codec wrote of it at each limit")
    parser.add_argument("--own", type=Path, help="folder of checkpoints of our own")
    parser.add_argument("--images", type=Path, help="folder class/image.jpg that one of them is made of")
    parser.add_argument("--file", type=Path, action="append", default=[])
    parser.add_argument("--efforts", default="3,5")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--name", default="fewer_bits", help="of the result files")
    arguments = parser.parse_args()
    if arguments.own and not arguments.images:
        parser.error("--own needs --images")
    efforts = [int(effort) for effort in arguments.efforts.split(",")]
    limits, middle = [float(limit) for limit in arguments.limits.split(",")], sorted(checkpoints.LIMITS)[1]
    codec = list(map(int, arguments.codec.split(","))) if arguments.codec else [None] * len(limits)
    pairs = zip(limits, codec, strict=True)
    jobs: list[Job] = [(arguments.pool, *pair) for pair in pairs] if arguments.pool else []
    if arguments.own:
        jobs += [(path, middle, None) for path in own_pools(arguments.own, arguments.images)]
    jobs += [(path, None, None) for path in arguments.file]

    place = RESULTS / f"{arguments.name}.json"
    before = json.loads(place.read_text())["rows"] if arguments.resume and place.exists() else {}
    rows: dict[str, Row] = {}
    for path, limit, codec_bytes in jobs:
        key = path.name if limit is None else f"{path.name} at {limit:g}"
        inputs = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "efforts": efforts}
        kept = before.get(key, {})
        if {name: kept.get(name) for name in inputs} == inputs:
            rows[key] = kept
        else:
            row = file_row(path, efforts) if limit is None else pool_row(path, limit, codec_bytes, efforts[-1])
            rows[key] = {"name": path.name} | inputs | row
        others = collected()
        write_result(arguments.name, {"rows": rows, "collected": sorted(others)})
        (RESULTS / f"{arguments.name}.md").write_text(document(rows, others))
    print(document(rows, collected()))


if __name__ == "__main__":
    main()
