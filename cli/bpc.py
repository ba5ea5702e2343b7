"""`rdd bpc`: exact bits per class, part by part."""

from __future__ import annotations

from typing import Any

import click

import rducodec
from rducodec import Limits, Rate
from rducodec_cli import options
from rducodec_cli.progress import progress
from rducodec_cli.terminal import INDENT, amount, print_json, print_table, shown

BYTES_PER_KB = 1024  # kB of the literature
BYTES_PER_SI_KB = 1000


def rate_fields(file: str, rate: Rate) -> dict[str, Any]:
    """A rate for machines."""
    return {
        "file": file,
        "file_bits": rate.file_bits,
        "num_classes": rate.num_classes,
        "bpc_bits": rate.bpc_bits,
        "bpc_kb": rate.bpc_kb,
        "parts": rate.parts,
        "information_bits": rate.information_bits,
        "overhead": rate.overhead,
    }


def print_rate(rate: Rate) -> None:
    """A rate for people: every part in bits and bytes, the overhead of coding, and the size of a class."""

    def row(name: str, bits: int, information: float | None) -> list[str]:
        num_bytes = bits / 8
        cells = [f"{bits:,}", f"{num_bytes:,.1f}", f"{num_bytes / BYTES_PER_KB:,.3f}"]
        cells += [f"{num_bytes / BYTES_PER_SI_KB:,.3f}", f"{100 * bits / rate.file_bits:.1f} %"]
        if rate.information_bits:
            cells.append("" if information is None else f"{information:,.1f}")
        return [name, *cells]

    names = {name: name.replace("_", " ") for name in rate.parts}
    header = ["part", "bits", "bytes", "kB=1024", "KB=1000", "share"]
    if rate.information_bits:
        header.append("information")
    else:  # raw profile
        names["latents"] = "samples"
    rows = [row(names[name], bits, rate.information_bits.get(name)) for name, bits in rate.parts.items()]
    print_table(header, rows, total=row("file", rate.file_bits, None))
    click.echo()
    if rate.overhead:
        parts = ", ".join(f"{name} {100 * value:+.2f} %" for name, value in rate.overhead.items())
        click.echo(f"{INDENT}coded over information: {parts}")
    per_class = rate.bpc_bits / 8
    click.echo(
        f"{INDENT}bits per class: {rate.bpc_bits:,.1f} = {per_class:,.1f} bytes = {rate.bpc_kb:,.3f} kB (1024 bytes) = "
        f"{per_class / BYTES_PER_SI_KB:,.3f} KB (1000 bytes)"
    )


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=options.FILE)
@options.threads
@options.limits
@options.common
def bpc(files: tuple[str, ...], as_json: bool, threads: int | None, limits: Limits) -> None:
    """Exact bits per class of FILE, part by part.

    The parts sum to the size of the file. Information is what the file's own probabilities say; a kB in the
    literature is 1024 bytes. With --json, several files give an array.
    """
    rates = []
    for number, file in enumerate(files):
        with options.about(file):
            dataset = rducodec.read(file, limits=limits)
            with progress("counting", dataset.header.num_samples) as advance:
                rate = rducodec.bpc(dataset, threads=threads, progress=advance)
        rates.append(rate_fields(file, rate))
        if not as_json:
            classes = amount(rate.num_classes, "class", "classes")
            samples = amount(dataset.header.num_samples, "sample")
            click.echo(f"{'' if number == 0 else chr(10)}{click.style(shown(file), bold=True)}: {classes}, {samples}")
            print_rate(rate)
    if as_json:
        print_json(rates[0] if len(rates) == 1 else rates)
