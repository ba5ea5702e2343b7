"""`rdd demo`: the whole chain on the embedded digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rducodec import RddVersionError
from rducodec.files import translated_errors
from rducodec_cli import options
from rducodec_cli.bpc import BYTES_PER_KB, print_rate, rate_fields
from rducodec_cli.progress import training_progress
from rducodec_cli.terminal import INDENT, print_json, print_table

if TYPE_CHECKING:
    from rducodec.demo.chain import Outcome


def _print(outcome: Outcome) -> None:
    click.echo()
    click.echo(click.style(f"Where the bits of {outcome.file} go", bold=True))
    print_rate(outcome.rate)
    click.echo()
    largest = outcome.rows[0].bytes_per_class
    click.echo(click.style("What the kilobytes cost", bold=True))
    print_table(
        ["training set", "kB per class", "ratio", "test accuracy"],
        [
            [
                row.name,
                f"{row.bytes_per_class / BYTES_PER_KB:.3f}",
                f"{largest / row.bytes_per_class:.1f} x",
                f"{100 * row.accuracy.mean:.1f} ± {100 * row.accuracy.std:.1f} %",
            ]
            for row in outcome.rows
        ],
    )
    networks = len(outcome.rows[0].accuracy.per_network)
    click.echo(
        f"{INDENT}{networks} networks each, {outcome.num_test_images} held-out digits; "
        f"decoded digits are {outcome.psnr:.1f} dB from the originals"
    )
    click.echo()
    click.echo(f"{INDENT}picture, originals beside decoded digits: {outcome.picture}")
    click.echo(f"{INDENT}look further: rdd inspect {outcome.file}")


def _fields(outcome: Outcome) -> dict[str, object]:
    return {
        "rate": rate_fields(str(outcome.file), outcome.rate),
        "psnr": outcome.psnr,
        "rows": [
            dataclasses.asdict(row) | {"mean": row.accuracy.mean, "std": row.accuracy.std} for row in outcome.rows
        ],
        "num_test_images": outcome.num_test_images,
        "picture": str(outcome.picture),
    }


@click.command()
@click.argument("folder", type=click.Path(file_okay=False), default="rdd-demo")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all randomness.")
@options.common
def demo(folder: str, as_json: bool, seed: int) -> None:
    """Compress, decode, verify and count the embedded digits; files go to FOLDER.

    Shows what the kilobytes cost: the accuracy of classifiers trained on the originals and on the decoded digits.
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
    with training_progress("compressing") as told:
        outcome = run_demo(target, seed=seed, progress=told, say=say)
    if as_json:
        print_json(_fields(outcome))
    else:
        _print(outcome)
