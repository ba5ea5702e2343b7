"""`rdd encode`: images or tensors to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

import rducodec
from rducodec import Rate, Texts
from rducodec.bitstream.header import MAX_INDEX_BITS
from rducodec.encoder import (
    encode_latent_source,
    encode_pool,
    encode_raw_source,
    overfit_settings,
    payload_target,
    plan_latent,
    reconstruction_error,
)
from rducodec.files import check_target, write_file
from rducodec.interop import Pool, SourceSet, find_pool, read_source
from rducodec.interop.space import parse_space
from rducodec.labels import LabelPrecision
from rducodec.rate import BITS_PER_KB
from rducodec.shape import (
    DECODERS,
    DEFAULT_DECODER,
    DEFAULT_SLICE_SIZE,
    NETWORKS,
    LatentShape,
    parse_decoder,
    parse_entropy,
)
from rducodec_cli import options
from rducodec_cli.bpc import print_rate, rate_fields
from rducodec_cli.progress import progress, training_progress
from rducodec_cli.terminal import amount, print_json, shown

_LATENT_ONLY = (
    "decoder",
    "entropy",
    "networks",
    "steps",
    "lmbda",
    "max_mse",
    "target_bpc",
    "seed",
    "device",
    "checkpoint",
)
_RAW_ONLY = ("bits",)
_OF_POOLS = ("move_latents",)
_NOT_OF_POOLS = ("profile", "bits", "divisor", "spc", "slice_size", "keep_order", *(set(_LATENT_ONLY) - {"max_mse"}))
_OF_LAYOUTS = ("layout", "experiment", "factor", "size", "w0", "hard_labels", "temperature")
_OF_SOFT_LABELS = ("label_error", "label_bits", "label_top")


_POSITIVE = click.FloatRange(0, min_open=True)


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


def _class_names(settings: dict[str, Any]) -> tuple[str, ...]:
    return tuple(part.strip() for part in (settings["class_names"] or "").split(",") if part.strip())


def _texts(settings: dict[str, Any]) -> Texts:
    return Texts(
        name=settings["name"] or "",
        class_names=_class_names(settings),
        recipe=dict(settings["recipe"]),
        licence=settings["licence"] or "",
        source=settings["origin"] or "",
    )


def _precision(settings: dict[str, Any]) -> LabelPrecision:
    """Of soft labels."""
    error = {} if settings["label_error"] is None else {"error": settings["label_error"]}
    return LabelPrecision(bits=settings["label_bits"], top=settings["label_top"], **error)


def _latent_file(source: SourceSet, settings: dict[str, Any], texts: Texts) -> bytes:
    """Train and pack, with progress."""
    context_size, depth = settings["entropy"]
    slice_size = settings["slice_size"] or DEFAULT_SLICE_SIZE
    shape = LatentShape(settings["decoder"], context_size, depth, slice_size, networks=settings["networks"])
    precision = _precision(settings)
    plan = plan_latent(source, shape, keep_order=settings["keep_order"], texts=texts, precision=precision)
    names = ("steps", "lmbda", "max_mse", "seed", "device")
    given = {name: settings[name] for name in names if settings[name] is not None}
    if settings["target_bpc"] is not None:
        given["target_bits_per_class"] = payload_target(plan, settings["target_bpc"] * BITS_PER_KB)
    overfit = overfit_settings(**given)
    options.torch_mover(overfit.device)  # refused before the training starts
    with training_progress("training", num_classes=source.num_classes) as told:
        checkpoint = None if settings["checkpoint"] is None else Path(settings["checkpoint"])
        return encode_latent_source(source, plan, overfit, texts=texts, checkpoint=checkpoint, progress=told)


def _pool_file(pool: Pool, settings: dict[str, Any], texts: Texts) -> tuple[bytes, float]:
    """Quantise and pack a published checkpoint, with progress; and its mean squared error."""
    fields = {name: settings[name] for name in ("max_mse", "num_classes", *_OF_POOLS) if settings[name] is not None}
    if settings["space"] is not None:
        fields["space"] = parse_space(settings["space"])
    with progress("choosing steps", len(pool.slices)) as advance:
        return encode_pool(pool, texts=texts, progress=advance, **fields)


@click.command()
@click.argument("source", metavar="SOURCE", type=click.Path())
@click.argument("out", metavar="OUT.rdd", type=click.Path())
@click.option(
    "--profile",
    type=click.Choice(["latent", "raw"]),
    default="latent",
    show_default=True,
    help="latent: trained networks and latents, lossy. raw: every value kept, or with --bits the nearest of few.",
)
@options.source
@options.size
@click.option("--class-names", metavar="A,B,...", help="Names of the classes of tensors, separated by commas.")
@click.option("--spc", type=click.IntRange(min=1), metavar="N", help="Only the first so many samples of each class.")
@click.option("--slice-size", type=click.IntRange(min=1), metavar="N", help="Most samples a slice.  [default: 64]")
@click.option(
    "--bits",
    type=click.IntRange(1, MAX_INDEX_BITS),
    metavar="N",
    help="With --profile raw: quantise to 2**N levels, learned from the samples of each slice.",
)
@click.option("--keep-order", is_flag=True, help="Keep the order of the source; else samples come class after class.")
@click.option(
    "--decoder",
    type=options.Parsed("NAME", parse_decoder),
    metavar="NAME",
    default=DEFAULT_DECODER,
    show_default=True,
    help=f"Decoder network: {', '.join(DECODERS)}, or hidden widths such as 480 or 240,40.",
)
@click.option(
    "--entropy",
    type=options.Parsed("CxD", parse_entropy),
    metavar="CxD",
    default="16x2",
    show_default=True,
    help="Entropy network: context x depth.",
)
@click.option(
    "--networks",
    type=click.Choice(NETWORKS),
    default=NETWORKS[0],
    show_default=True,
    help="Each slice has networks of its own, or all of the file share theirs.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Training steps.  [default: 1500]")
@click.option("--lmbda", type=float, metavar="X", help="Weight of bits against squared error.  [default: 0.001]")
@click.option("--max-mse", type=float, metavar="X", help="What coarser network weights may add.  [default: 5e-06]")
@click.option("--move-latents", is_flag=True, help="Latents of a checkpoint may change, too, where that saves more.")
@click.option("--target-bpc", type=float, metavar="KB", help="Size of a class to reach, in kB of 1024 bytes.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of all randomness.  [default: 0]")
@click.option("--device", metavar="NAME", help="A torch device: cpu, cuda, ...  [default: cpu]")
@click.option("--checkpoint", type=click.Path(), help="Save the training here, and go on from there.")
@click.option("--temperature", type=_POSITIVE, metavar="X", help="Labels are logits: the softmax of them over X.")
@click.option("--label-error", type=_POSITIVE, metavar="X", help="Most that soft labels may change.  [default: 2^-8]")
@click.option("--label-bits", type=_POSITIVE, metavar="N", help="Or: the finest soft labels of at most N bits each.")
@click.option("--label-top", type=click.IntRange(min=1), metavar="N", help="Keep the N largest of a soft label.")
@click.option("--name", metavar="TEXT", help="Name of the dataset.")
@click.option("--licence", metavar="TEXT", help="Its licence.")
@click.option("--origin", metavar="TEXT", help="Where it comes from: a paper, a page.")
@click.option("--recipe", type=Item(), multiple=True, help="How to train on it, e.g. lr=0.01; may be repeated.")
@options.common
def encode(source: str, out: str, as_json: bool, **settings: Any) -> None:
    """Encode SOURCE as OUT.rdd.

    SOURCE is a folder of images (class/image.png), or a file .npz, .pt or .safetensors with `samples` (or
    `images`, `x`) and `labels` (or `y`). Files that the authors of a method left are read as they are, a folder of
    them or the file of the images: --layout lists what is known, and is needed only where it cannot be detected. Or a
    published checkpoint (.pt) of rate-utility optimisation: its latents are kept as they are, and its networks become
    integers that change the samples by at most --max-mse, 0 for the finest steps. With --move-latents, single latents
    may become cheaper ones within the same limit; at 5e-5 and less, coarser networks mostly use the error better.

    Labels (or `soft_labels` beside them) of a row of probabilities each are soft labels; they are kept as integers of
    one sum, no probability changed by more than --label-error. Logits need a --temperature, which is known for DATM.

    SPACE is one of pixels, standardised:cifar10, standardised:cifar100 (as DC, DSA and DM have it),
    standardised:cifar100-mtt, standardised:imagenet, standardised:mean=A,B,C,std=D,E,F, zca:TEXT, other:TEXT. It is
    asked for, never guessed.

    The file is decoded and compared before it is written.
    """
    _check_usage(settings)
    check_target(out, inputs=[source])
    pool = find_pool(source)
    if pool is not None:
        given = (*_NOT_OF_POOLS, *_OF_LAYOUTS, *_OF_SOFT_LABELS)
        options.refuse_given(given, "with a published checkpoint")
        data, mse = _pool_file(pool, settings, _texts(settings))
        write_file(out, data, inputs=[source])
        _report(out, pool.num_samples, rducodec.bpc(data), mse, "the float networks", as_json=as_json)
        return
    options.refuse_given(_OF_POOLS, "without a published checkpoint")
    names = _class_names(settings)
    space = None if settings["space"] is None else parse_space(settings["space"])
    said = {name: settings[name] for name in ("divisor", "num_classes", *_OF_LAYOUTS)}
    read = read_source(source, space=space, class_names=names, **said)
    for remark in read.remarks:
        click.echo(f"note: {shown(remark)}", err=True)
    if read.soft_labels is None:
        options.refuse_given(_OF_SOFT_LABELS, "without soft labels")
    if settings["spc"]:
        read = read.first_per_class(settings["spc"])
    if settings["label_top"] is not None:
        click.echo(f"note: of each soft label the {settings['label_top']} largest are kept, scaled to 1", err=True)
    texts = _texts(settings)
    if settings["profile"] == "raw":
        places = {name: settings[name] for name in ("slice_size", "keep_order", "bits")}
        data = encode_raw_source(read, texts=texts, precision=_precision(settings), **places)
    else:
        data = _latent_file(read, settings, texts)
    write_file(out, data, inputs=[source])
    lossless = settings["profile"] == "raw" and settings["bits"] is None
    mse = 0.0 if lossless else reconstruction_error(read, data)
    _report(out, len(read.samples), rducodec.bpc(data), mse, "the source", as_json=as_json)


def _check_usage(settings: dict[str, Any]) -> None:
    """Options that would be without effect are refused."""
    if settings["profile"] == "raw":
        options.refuse_given(_LATENT_ONLY, "with --profile raw")
    else:
        options.refuse_given(_RAW_ONLY, "without --profile raw")
    if settings["label_error"] is not None and settings["label_bits"] is not None:
        raise click.UsageError("--label-error and --label-bits: one of them", click.get_current_context())


def _report(out: str, num_samples: int, rate: Rate, mse: float, reference: str, *, as_json: bool) -> None:
    psnr = -10 * np.log10(mse) if mse > 0 else None
    if as_json:
        print_json(rate_fields(out, rate) | {"num_samples": num_samples, "mse": mse, "psnr": psnr})
        return
    samples = amount(num_samples, "sample")
    classes = amount(rate.num_classes, "class", "classes")
    error = "lossless" if psnr is None else f"mean squared error to {reference} {mse:.3g} (PSNR {psnr:.2f} dB)"
    click.echo(f"{click.style(shown(out), bold=True)}: {samples}, {classes}, {error}; decoded and compared")
    print_rate(rate)
