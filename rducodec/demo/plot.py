"""The rate-utility picture: test accuracy against kilobytes per class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from rducodec.training.evaluation.result import ALL_REAL_IMAGES, FILE, Row

BYTES_PER_KB = 1024
SIZE_INCHES, DOTS_PER_INCH = (7.5, 5.0), 150
MARKERS = "osD^vP*X"


def rate_utility_plot(
    rows: Iterable[Row], path: str | PathLike[str], *, lossless_bytes_per_class: float | None = None
) -> None:
    """Write a picture with one line for each way of keeping samples: mean accuracies with their standard deviations.

    Rows of files are named by their first word ("distilled-0.3kB.rdd" is "distilled"), rows of real images by their
    kind of picture, whatever quality it has. All real images are a level, and a point where they have a size.
    """
    lines: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in rows:
        mean, std = 100 * row.accuracy.mean, 100 * row.accuracy.std
        if row.kind == ALL_REAL_IMAGES:
            axes.axhline(mean, color="0.6", linestyle="--", linewidth=1, label="all real images")
            if lossless_bytes_per_class is not None:
                lines["all real images, lossless .rdd"].append((lossless_bytes_per_class / BYTES_PER_KB, mean, std))
        elif row.bytes_per_class is not None:
            lines[_line_name(row)].append((row.bytes_per_class / BYTES_PER_KB, mean, std))
    ours_first = sorted(lines.items(), key=lambda item: (item[0] not in ("distilled", "overfitted"), item[0]))
    for index, (name, points) in enumerate(ours_first):
        sizes, means, stds = zip(*sorted(points), strict=True)
        heavy = 2.5 if name == "distilled" else 1.2
        marker = MARKERS[index % len(MARKERS)]
        axes.errorbar(sizes, means, stds, label=name, marker=marker, capsize=3, linewidth=heavy, markersize=6)
    axes.set_xscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(plain)
    axes.tick_params(axis="x", which="minor", labelsize="small")
    axes.set_xlabel("kB (1024 bytes) per class")
    axes.set_ylabel("test accuracy, %")
    axes.grid(visible=True, which="both", color="0.92")
    axes.legend(loc="lower right")
    canvas.print_figure(path, dpi=DOTS_PER_INCH)


def _line_name(row: Row) -> str:
    if row.kind == FILE:
        return Path(row.name).stem.partition("-")[0]
    return row.name.partition(" quality")[0]
