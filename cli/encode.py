"""`rdd encode`: images or tensors to a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np

import rducodec
from rducodec import Rate, Texts
from rducodec.bitstream.header import CONTEXT_SIZES, MAX_DEPTH, MAX_WIDTH, MAX_WIDTHS
from rducodec.encoder import (
    DECODERS,
    DEFAULT_DECODER,
    DEFAULT_SLICE_SIZE,
    LatentShape,
    encode_latent_source,
    encode_raw_source,
    overfit_settings,
    payload_target,
    plan_latent,
)
from rducodec.files import check_target, write_file
from rducodec.interop import SourceSet, read_source
from rducodec.interop.space import parse_space
from rducodec.rate import BITS_PER_KB
from rducodec_cli import options
from rducodec_cli.bpc import print_rate, rate_fields
from rducodec_cli.progress import training_progress
from rducodec_cli.terminal import amount, print_json, shown

_LATENT_ONLY = ("decoder", "entropy", "steps", "lmbda", "max_mse", "target_bpc", "seed", "device", "checkpoint")


class Widths(click.ParamType):  # type: ignore[type-arg]
    """A decoder of the paper by name, or the widths of its hidden layers."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if value in DECODERS:
            return DECODERS[value]
        if re.fullmatch(r"[0-9]+(,[0-9]+)*", value):
            widths = tuple(int(part) for part in value.split(","))
            if len(widths) <= MAX_WIDTHS and all(1 <= width <= MAX_WIDTH for width in widths):
                return widths
        return self.fail(
            f"{value!r}: expected one of {', '.join(DECODERS)}, or widths such as 480 or 240,40", param, ctx
        )


class EntropyShape(click.ParamType):  # type: ignore[type-arg]
    """Context and depth of the entropy network, e.g. 16x4."""

    name = "CONTEXTxDEPTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9]+)x([0-9]+)", value)
        if match and int(match[1]) in CONTEXT_SIZES and int(match[2]) <= MAX_DEPTH:
            return int(match[1]), int(match[2])
        sizes = ", ".join(map(str, CONTEXT_SIZES))
        return self.fail(
            f"{value!r}: expected e.g. 16x4, a context of {sizes} and a depth of 0..{MAX_DEPTH}", param, ctx
        )


class Item(click.ParamType):  # type: ignore[type-arg]
    """KEY=VALUE; the value is an integer, a number or text."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | int | float]:
        key, separator, text = value.partition("=")
        if not separator or not key or not text:
            return self.fail(f"{value!r}: expected KEY=VALUE", param, ctx)
        for kind in (int, float):
            try:
                return key, kind(text)
            except ValueError:
                continue
        return key, text


def _texts(settings: dict[str, Any]) -> Texts:
    return Texts(
        name=settings["name"] or "",
        recipe=dict(settings["recipe"]),
        licence=settings["licence"] or "",
        source=settings["origin"] or "",
    )


def _latent_file(source: SourceSet, settings: dict[str, Any], texts: Texts) -> bytes:
    """Train and pack, with progress."""
    context_size, depth = settings["entropy"]
    shape = LatentShape(settings["decoder"], context_size, depth, settings["slice_size"] or DEFAULT_SLICE_SIZE)
    plan = plan_latent(source, shape, keep_order=settings["keep_order"], texts=texts)
    given = {name: settings[name] for name in ("steps", "lmbda", "max_mse", "seed", "device") if settings[name]}
    if settings["target_bpc"] is not None:
        given["target_bits_per_class"] = payload_target(plan, settings["target_bpc"] * BITS_PER_KB)
    overfit = overfit_settings(**given)
    with training_progress("training") as told:
        checkpoint = None if settings["checkpoint"] is None else Path(settings["checkpoint"])
        return encode_latent_source(source, plan, overfit, texts=texts, checkpoint=checkpoint, progress=told)


def _mse(source: SourceSet, data: bytes) -> float:
    """Mean squared error of the decoded samples, in the value space of the source."""
    dataset = rducodec.read(data)
    samples = source.float_samples().astype(np.float64)
    if dataset.label_set.order is None:
        samples = samples[np.argsort(source.labels, kind="stable")]
    return float(np.square(dataset.samples() - samples).mean())


@click.command()
@click.argument("source", metavar="SOURCE", type=click.Path())
@click.argument("out", metavar="OUT.rdd", type=click.Path())
@click.option(
    "--profile",
    type=click.Choice(["latent", "raw"]),
    default="latent",
    show_default=True,
    help="latent: trained networks and latents, lossy. raw: every value kept.",
)
@click.option("--space", metavar="SPACE", help="Where the values live (see above); not needed for 8-bit images.")
@click.option("--divisor", type=click.IntRange(min=1), metavar="N", help="Divisor of integers; 255 for 8-bit pixels.")
@click.option(
    "--num-classes", type=click.IntRange(min=1), metavar="N", help="Of tensors.  [default: largest label + 1]"
)
@click.option("--class-names", metavar="A,B,...", help="Names of the classes of tensors, separated by commas.")
@click.option("--spc", type=click.IntRange(min=1), metavar="N", help="Only the first so many samples of each class.")
@click.option("--slice-size", type=click.IntRange(min=1), metavar="N", help="Most samples a slice.  [default: 64]")
@click.option("--keep-order", is_flag=True, help="Keep the order of the source; else samples come class after class.")
@click.option(
    "--decoder",
    type=Widths(),
    metavar="NAME",
    default=DEFAULT_DECODER,
    show_default=True,
    help=f"Decoder network: {', '.join(DECODERS)}, or hidden widths such as 480 or 240,40.",
)
@click.option(
    "--entropy",
    type=EntropyShape(),
    metavar="CxD",
    default="16x2",
    show_default=True,
    help="Entropy network: context x depth.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Training steps.  [default: 1500]")
@click.option("--lmbda", type=float, metavar="X", help="Weight of bits against squared error.  [default: 0.001]")
@click.option("--max-mse", type=float, metavar="X", help="What coarser network weights may add.  [default: 5e-06]")
@click.option("--target-bpc", type=float, metavar="KB", help="Size of a class to reach, in kB of 1024 bytes.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of all randomness.  [default: 0]")
@click.option("--device", metavar="NAME", help="A torch device: cpu, cuda, ...  [default: cpu]")
@click.option("--checkpoint", type=click.Path(), help="Save the training here, and go on from there.")
@click.option("--name", metavar="TEXT", help="Name of the dataset.")
@click.option("--licence", metavar="TEXT", help="Its licence.")
@click.option("--origin", metavar="TEXT", help="Where it comes from: a paper, a page.")
@click.option("--recipe", type=Item(), multiple=True, help="How to train on it, e.g. lr=0.01; may be repeated.")
@options.common
def encode(source: str, out: str, as_json: bool, **settings: Any) -> None:
    """Encode SOURCE as OUT.rdd.

    SOURCE is a folder of images (class/image.png), or a file .npz, .pt or .safetensors with `samples` (or
    `images`, `x`) and `labels` (or `y`).

    SPACE is one of pixels, standardised:cifar10, standardised:cifar100, standardised:imagenet,
    standardised:mean=A,B,C,std=D,E,F, zca:TEXT, other:TEXT. It is asked for, never guessed.

    The file is decoded and compared before it is written.
    """
    _check_usage(settings)
    check_target(out, inputs=[source])
    names = [part.strip() for part in (settings["class_names"] or "").split(",") if part.strip()]
    space = None if settings["space"] is None else parse_space(settings["space"])
    read = read_source(
        source, space=space, divisor=settings["divisor"], num_classes=settings["num_classes"], class_names=names
    )
    if settings["spc"]:
        read = read.first_per_class(settings["spc"])
    texts = _texts(settings)
    if settings["profile"] == "raw":
        data = encode_raw_source(
            read, slice_size=settings["slice_size"], keep_order=settings["keep_order"], texts=texts
        )
    else:
        data = _latent_file(read, settings, texts)
    write_file(out, data, inputs=[source])
    mse = 0.0 if settings["profile"] == "raw" else _mse(read, data)
    _report(out, read, rducodec.bpc(data), mse, as_json=as_json)


def _check_usage(settings: dict[str, Any]) -> None:
    """Options that would be without effect are refused."""
    context = click.get_current_context()
    for name in _LATENT_ONLY if settings["profile"] == "raw" else ():
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning with --profile raw", context)


def _report(out: str, source: SourceSet, rate: Rate, mse: float, *, as_json: bool) -> None:
    psnr = -10 * np.log10(mse) if mse > 0 else None
    if as_json:
        quality = {"num_samples": len(source.samples), "mse": mse, "psnr": psnr}
        print_json(rate_fields(out, rate) | quality)
        return
    samples = amount(len(source.samples), "sample")
    classes = amount(source.num_classes, "class", "classes")
    error = "lossless" if psnr is None else f"mean squared error {mse:.3g} (PSNR {psnr:.2f} dB)"
    click.echo(f"{click.style(shown(out), bold=True)}: {samples}, {classes}, {error}; decoded and compared")
    print_rate(rate)
