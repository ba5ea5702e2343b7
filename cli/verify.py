"""`rdd verify`: digest of the stored bytes, full decode, digest of the samples."""

from __future__ import annotations

import click
import numpy as np

import rducodec
from rducodec import Limits
from rducodec_cli import options
from rducodec_cli.progress import progress
from rducodec_cli.terminal import INDENT, amount, print_json, shown


@click.command()
@click.argument("file", type=options.FILE)
@options.device
@options.threads
@options.limits
@options.common
def verify(file: str, as_json: bool, device: str, threads: int | None, limits: Limits) -> None:
    """Check FILE: digest of its bytes, full decode, digest of its samples."""
    mover = options.array_mover(device) or np.asarray
    with options.about(file):
        dataset = rducodec.read(file, limits=limits)
        count = dataset.header.num_samples
        with progress("verifying", count) as advance:
            dataset.stored_samples(threads=threads, xp_array=mover, progress=advance)
    container = dataset.container
    if as_json:
        print_json(
            {
                "file": file,
                "ok": True,
                "file_bytes": container.num_bytes,
                "file_check": container.file_check.hex(),
                "num_slices": len(dataset.slices),
                "num_samples": count,
                "sample_digest": dataset.sample_digest.hex(),
            }
        )
        return
    ok = click.style("ok", fg="green", bold=True)
    click.echo(click.style(shown(file), bold=True))
    click.echo(f"{INDENT}{ok}  {container.num_bytes:,} stored bytes have the digest {container.file_check.hex()}")
    sections = amount(len(dataset.slices), "slice")
    click.echo(f"{INDENT}{ok}  header, labels and {sections} tile the file and keep every rule")
    samples = amount(count, "decoded sample")
    click.echo(f"{INDENT}{ok}  {samples} with labels, the digest is {dataset.sample_digest.hex()}")
