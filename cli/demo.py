"""`rdd demo`: the whole chain on the embedded digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rducodec import RddVersionError
from rducodec.demo import NUM_CLASSES
from rducodec.files import translated_errors
from rducodec_cli import options
from rducodec_cli.bpc import BYTES_PER_KB, print_rate, rate_fields
from rducodec_cli.progress import distillation_progress
from rducodec_cli.terminal import INDENT, print_json, print_table

if TYPE_CHECKING:
    from rducodec.demo.chain import Outcome


def _print(outcome: Outcome) -> None:
    from rducodec.demo.chain import PIXELS

    click.echo()
    click.echo(click.style(f"Where the bits of {outcome.file} go", bold=True))
    print_rate(outcome.rate)
    click.echo()
    click.echo(click.style("What the kilobytes are worth", bold=True))
    print_table(
        ["training set", "kB per class", "samples per class", "test accuracy"],
        [
            [
                Path(row.name).name,
                "–" if row.bytes_per_class is None else f"{row.bytes_per_class / BYTES_PER_KB:.3f}",
                f"{row.num_samples / row.num_classes:.4g}",
                f"{100 * row.accuracy.mean:.1f} ± {100 * row.accuracy.std:.1f} %",
            ]
            for row in outcome.rows
        ],
    )
    networks = len(outcome.rows[0].accuracy.per_network)
    lossless = outcome.lossless_bytes_per_class / BYTES_PER_KB
    click.echo(
        f"{INDENT}{networks} networks each, {outcome.num_test_images} held-out digits; "
        f"all training digits take {lossless:.2f} kB per class as one lossless .rdd file"
    )
    click.echo(
        f"{INDENT}overfitted: what the distillation began with; pixels: the same loss on pixels of {PIXELS} each"
    )
    click.echo()
    click.echo(f"{INDENT}accuracy against kilobytes: {outcome.plot}")
    click.echo(f"{INDENT}samples, overfitted beside distilled: {outcome.samples}")
    click.echo(f"{INDENT}look further: rdd inspect {outcome.file}")


def _fields(outcome: Outcome) -> dict[str, object]:
    return {
        "rate": rate_fields(str(outcome.file), outcome.rate),
        "rows": [row.fields() for row in outcome.rows],
        "lossless_bytes_per_class": outcome.lossless_bytes_per_class,
        "num_test_images": outcome.num_test_images,
        "samples": str(outcome.samples),
        "plot": str(outcome.plot),
    }


@click.command()
@click.argument("folder", type=click.Path(file_okay=False), default="rdd-demo")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all randomness.")
@options.common
def demo(folder: str, as_json: bool, seed: int) -> None:
    """Distil, decode, verify, count and evaluate the embedded digits; files go to FOLDER.

    Shows what kilobytes are worth: the accuracy of classifiers trained on distilled digits, and on rivals of the same
    size. An interrupted demo continues where it was.
    """
    try:
        from rducodec.demo.chain import run_demo  # needs torch
    except ImportError as error:
        raise RddVersionError(f"the demo needs the extra `train` ({error}): pip install 'rducodec[train]'") from error

    def say(line: str) -> None:
        if not as_json:
            click.echo(f"{click.style('>', fg='cyan', bold=True)} {line}")

    target = Path(folder)
    with translated_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    with distillation_progress(say, num_classes=NUM_CLASSES) as training:
        outcome = run_demo(target, seed=seed, reports=training)
    if as_json:
        print_json(_fields(outcome))
    else:
        _print(outcome)
