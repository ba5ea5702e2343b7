"""What a file costs a class: by the rule of the method that it comes from, and complete, as bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import rducodec.interop
from rducodec.bitstream.limits import DEFAULT_LIMITS, Limits
from rducodec.counting.methods import METHODS, Count, Term, floats_term, log2_binomial, pixel_count
from rducodec.counting.pool import count_pool
from rducodec.counting.units import Number
from rducodec.encoder import (
    encode_latent_source,
    encode_pool,
    encode_raw_source,
    overfit_settings,
    plan_latent,
    reconstruction_error,
)
from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.interop import Pool, SourceSet, find_pool, make_source
from rducodec.interop.pickles import TORCH_SUFFIXES
from rducodec.interop.pool import SPACE
from rducodec.quantization import DEFAULT_MAX_MSE, float_samples
from rducodec.rate import Rate, bpc
from rducodec.reader import read
from rducodec.shape import LatentShape

SOURCE_SUFFIXES = (".npz", ".safetensors", *TORCH_SUFFIXES)
ON_DISK, RAW_FILE, LATENT_FILE = "on_disk", "raw_rdd", "latent_rdd"

Progress = Callable[[float], object]


@dataclass(frozen=True)
class FileCount:
    """Both counts of a file.

    `as_published` is None for a .rdd: there, the whole file is the count. `complete` has ON_DISK always; for other
    files RAW_FILE, the lossless .rdd of the same samples, and for checkpoints and where it is asked for LATENT_FILE.
    """

    path: str
    num_classes: int
    num_samples: int
    as_published: Count | None
    complete: dict[str, Count]
    rate: Rate | None = None  # of a .rdd, part by part
    remarks: tuple[str, ...] = ()  # what a user should know about how the file was read


def whole_count(num_bytes: int, num_classes: int, quality: Mapping[str, Number] | None = None) -> Count:
    """A file as it is, with everything in it; `quality` says how far its samples are from others."""
    bits = Fraction(8 * num_bytes, num_classes)
    numbers = {"bytes": num_bytes, "K": num_classes, **(quality or {})}
    return Count("file", "8·bytes/K", numbers, (Term("file", Fraction(0), bits),))


def is_rdd(path: str | Path) -> bool:
    """Whether `count_file` takes this for a .rdd: everything but folders and files of tensors."""
    path = Path(path)
    return not path.is_dir() and path.suffix.lower() not in SOURCE_SUFFIXES


def _psnr(mse: float) -> dict[str, Number]:
    return {} if mse == 0 else {"PSNR in dB": round(-10 * math.log10(mse), 2)}


def _disk_bytes(path: Path, files: tuple[Path, ...]) -> int:
    """Of these files, or of the visible files of a folder."""
    with translated_errors(path):
        if not files:
            visible = (f for f in path.rglob("*") if not any(p.startswith(".") for p in f.relative_to(path).parts))
            files = tuple(file for file in visible if file.is_file())
        return sum(file.stat().st_size for file in files)


def _floats(method: str, numbers: Mapping[str, Number], **floats: Fraction) -> Count:
    """A count of stored floats by the formula of a method."""
    terms = (floats_term(name.replace("_", " "), number) for name, number in floats.items())
    return Count(method, METHODS[method].formula, numbers, tuple(terms))


def _published(source: SourceSet) -> tuple[Count, tuple[str, ...]]:
    """The count by the rule of the layout's method, and remarks on it; float32, whatever type the file has."""
    channels, height, width = source.samples.shape[1:]
    classes, stored, values = source.num_classes, source.stored, channels * height * width
    ipc = Fraction(stored.get("images", len(source.samples)), classes)
    if source.layout == "frepo":
        numbers = {"ipc": ipc, "B": values, "K": classes}
        return _floats("frepo", numbers, pixels=ipc * values, soft_labels=ipc * classes), ()
    if source.layout == "haba":
        base, styles = stored["image_values"], Fraction(stored["parameters"], classes)
        numbers = {"ipc": ipc, "B": base, "n": stored["styles"], "S": stored["parameters"] // stored["styles"]}
        return _floats("haba", {**numbers, "K": classes}, images=ipc * base, style_networks=styles), ()
    if source.layout == "ddif":
        numbers = {"n": Fraction(stored["networks"], classes), "p": Fraction(stored["parameters"], stored["networks"])}
        return _floats("ddif", numbers, networks=Fraction(stored["parameters"], classes)), ()
    if source.layout == "fred" and stored:
        kept = stored["coefficients"]
        budget = ipc * kept / (height * width)
        numbers = {"ipc": budget, "m": kept, "C": channels, "H": height, "W": width}
        pixels = _floats("fred", numbers, coefficients=ipc * kept * channels)
        mask = Term("mask", Fraction(0), log2_binomial(height * width, kept))
        return Count("fred", pixels.formula, pixels.numbers, (*pixels.terms, mask)), ()
    remarks: tuple[str, ...] = ()
    if source.layout in ("fred", "ruo"):
        remarks = (f"what {source.layout} stores is not in these files: counted as the pixels that they hold",)
    method = source.layout if source.layout in METHODS and not remarks else "pixels"
    return pixel_count(method, ipc, (channels, height, width)), remarks


def _count_rdd(path: Path, limits: Limits, threads: int | None) -> FileCount:
    dataset = read(path, limits=limits)
    rate = bpc(dataset, threads=threads)
    whole = whole_count(rate.file_bits // 8, rate.num_classes)
    return FileCount(str(path), rate.num_classes, dataset.header.num_samples, None, {ON_DISK: whole}, rate)


def _count_pool(path: Path, pool: Pool, max_mse: float, num_classes: int | None, progress: Progress) -> FileCount:
    """A checkpoint: by its authors' estimate, and as files of both profiles, the raw one of the float samples."""
    labels, share = pool.labels(num_classes), 0.5 / len(pool.slices)
    classes = len(labels.counts)
    published = count_pool(pool, max_mse=max_mse, num_classes=classes, progress=lambda n: progress(n * share))
    latent, mse = encode_pool(pool, max_mse=max_mse, num_classes=classes, progress=lambda n: progress(n * share))
    samples = np.concatenate([float_samples(part, pool.config) for part in pool.slices])
    raw = encode_raw_source(make_source(samples, labels.sequence(), space=SPACE, num_classes=classes))
    complete = {
        ON_DISK: whole_count(_disk_bytes(path, (path,)), classes),
        RAW_FILE: whole_count(len(raw), classes),
        LATENT_FILE: whole_count(len(latent), classes, _psnr(mse)),
    }
    return FileCount(str(path), classes, pool.num_samples, published, complete)


def _count_source(path: Path, source: SourceSet, latent_steps: int | None) -> FileCount:
    classes = source.num_classes
    published, remarks = _published(source)
    complete = {
        ON_DISK: whole_count(_disk_bytes(path, source.files), classes),
        RAW_FILE: whole_count(len(encode_raw_source(source)), classes),
    }
    if latent_steps is not None:
        data = encode_latent_source(source, plan_latent(source, LatentShape()), overfit_settings(steps=latent_steps))
        complete[LATENT_FILE] = whole_count(len(data), classes, _psnr(reconstruction_error(source, data)))
    return FileCount(str(path), classes, len(source.samples), published, complete, remarks=(*source.remarks, *remarks))


def count_file(
    path: str | Path,
    *,
    max_mse: float | None = None,
    latent_steps: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    threads: int | None = None,
    progress: Progress = lambda _: None,
    **said: Any,
) -> FileCount:
    """Bits per class of a .rdd, a published checkpoint, a file of tensors in any layout, or a folder of images.

    `said` are the arguments of `rducodec.interop.read_source`, refused for a .rdd, which states them; a checkpoint
    takes `num_classes` alone. `max_mse` is what quantised networks of a checkpoint may add, 5e-6 if not stated. With
    `latent_steps`, tensors and images are also trained for so many steps to a file of the latent profile, with the
    networks of the defaults. The classes to divide by are those of the labels. `progress` is told numbers that add up
    to 1, for a checkpoint. Raises what `read_source`, `find_pool` and `rducodec.bpc` raise.
    """
    path = Path(path)
    given = {name: value for name, value in said.items() if value is not None and value is not False and value != ()}
    if is_rdd(path):
        if given:
            raise RddInputError(f"{path}: a .rdd states its own {sorted(given)[0].replace('_', ' ')}")
        return _count_rdd(path, limits, threads)
    pool = find_pool(path)
    if pool is None:
        if max_mse is not None:
            raise RddInputError(f"{path}: max mse has no meaning but with a published checkpoint")
        source = rducodec.interop.read_source(path, **{"hard_labels": None, **given})
        return _count_source(path, source, latent_steps)
    num_classes = given.pop("num_classes", None)
    if given or latent_steps is not None:
        name = sorted(given)[0] if given else "latent_steps"
        raise RddInputError(f"{path}: {name.replace('_', ' ')} has no meaning with a published checkpoint")
    return _count_pool(path, pool, DEFAULT_MAX_MSE if max_mse is None else max_mse, num_classes, progress)
