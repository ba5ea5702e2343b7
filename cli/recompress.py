"""`rdd recompress`: the same samples in fewer bytes."""

from __future__ import annotations

from typing import Any

import click

from rducodec import LatentConfig, Limits
from rducodec.effort import DEFAULT_EFFORT, EFFORTS
from rducodec.files import check_target, write_file
from rducodec.rate import PARTS
from rducodec.recompress import Networks, Recompression, recompress
from rducodec_cli import options
from rducodec_cli.progress import progress
from rducodec_cli.terminal import INDENT, amount, print_json, print_table, shown


def _fields(file: str, out: str, result: Recompression) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "file": file,
        "out": out,
        "is_copy": result.is_copy,
        "identical_samples": result.mse == 0,
        "mse": result.mse,
        "saved_bytes": result.saved_bytes,
    }
    for name, rate in (("before", result.before), ("after", result.after)):
        fields[name] = {"file_bits": rate.file_bits, "bpc_bits": rate.bpc_bits, "parts": rate.parts}
    if result.configs is not None and result.networks is not None:
        for name, config, stored in zip(("before", "after"), result.configs, result.networks, strict=True):
            fields[name] |= {
                "entropy_network": config.entropy_name(),
                "entropy_networks_stored": stored.entropy,
                "decoder_networks_stored": stored.decoder,
            }
    return fields


def _sharing(config: LatentConfig, stored: Networks) -> str:
    entropy, decoder = amount(stored.entropy, "entropy network"), amount(stored.decoder, "decoder network")
    return f"{entropy} of {config.entropy_name()}, {decoder} for {amount(stored.slices, 'slice')}"


def _print(out: str, result: Recompression) -> None:
    samples = "identical samples" if result.mse == 0 else f"mean squared error to the old samples {result.mse:.3g}"
    if result.is_copy:
        samples = "nothing smaller was found: the old bytes"
    click.echo(f"{click.style(shown(out), bold=True)}: {samples}; decoded and compared")
    names = {name: name.replace("_", " ") for name in PARTS}
    if not result.before.information_bits:  # raw profile
        names["latents"] = "samples"

    def row(name: str, before: int, after: int) -> list[str]:
        return [name, f"{before / 8:,.1f}", f"{after / 8:,.1f}", f"{(before - after) / 8:,.1f}"]

    rows = [row(names[name], result.before.parts[name], result.after.parts[name]) for name in PARTS]
    whole = row("file", result.before.file_bits, result.after.file_bits)
    print_table(["bytes of", "before", "after", "saved"], rows, total=whole)
    share = result.saved_bytes * 8 / result.before.file_bits
    click.echo(f"\n{INDENT}{amount(result.saved_bytes, 'byte')} saved, {100 * share:.2f} % of the file")
    if result.configs is not None and result.networks is not None:
        for name, config, stored in zip(("before", "after "), result.configs, result.networks, strict=True):
            click.echo(f"{INDENT}{name}: {_sharing(config, stored)}")


@click.command("recompress")
@click.argument("file", type=options.FILE)
@click.argument("out", metavar="OUT.rdd", type=click.Path())
@click.option(
    "--effort",
    type=click.IntRange(min(EFFORTS), max(EFFORTS)),
    metavar="N",
    default=DEFAULT_EFFORT,
    show_default=True,
    help=f"{min(EFFORTS)} to {max(EFFORTS)}: how many networks are tried, and how long. From 2 on it needs torch.",
)
@click.option(
    "--max-mse",
    type=click.FloatRange(0),
    metavar="X",
    help="Let samples change by so much in each slice: coarser networks, moved latents.  [default: not at all]",
)
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="A torch device: cpu, cuda, ...")
@options.limits
@options.common
def recompress_command(
    file: str, out: str, as_json: bool, effort: int, max_mse: float | None, device: str, limits: Limits
) -> None:
    """Write FILE as OUT.rdd with the same samples and labels in fewer bytes.

    Latents and decoder networks are kept; the entropy networks are fitted to the latents again, in the shape that is
    cheapest, and shared by slices and classes where that saves more than it costs. A file of the raw profile is coded
    by all its methods again. The new file is decoded and has the sample digest of FILE; where nothing smaller is found,
    OUT.rdd is a copy of FILE.

    With --max-mse, decoder networks get coarser steps and single latents move to cheaper neighbours, whichever saves
    more for the error it adds. The error is measured; no slice has more.
    """
    check_target(out, inputs=[file])
    saved = [0]

    def told(share: float, saved_bytes: int) -> None:
        saved[0] = saved_bytes
        advance(share)

    if effort > min(EFFORTS) and device != "cpu":
        options.torch_mover(device)  # refused before the work starts
    with options.about(file), progress("recompressing", 1, detail=lambda: f"{saved[0]:,} bytes saved") as advance:
        result = recompress(file, effort=effort, max_mse=max_mse, device=device, limits=limits, progress=told)
    write_file(out, result.data, inputs=[file])
    if as_json:
        print_json(_fields(file, out, result))
    else:
        _print(out, result)
