"""`rdd bpc`: exact bits per class, of files and of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from click.core import ParameterSource

import rducodec
from rducodec import Limits, Rate
from rducodec.counting import METHODS, Count, FileCount, Method, SettingError, count, count_file
from rducodec.counting.files import LATENT_FILE, ON_DISK, RAW_FILE, is_rdd, whole_count
from rducodec.counting.methods import CLASSES, SIZE
from rducodec.counting.units import exact_text
from rducodec.interop.space import parse_space
from rducodec.rate import SoftLabelRate
from rducodec_cli import options
from rducodec_cli.claims import check_formats, count_fields, csv_option, plain, print_csv, print_wrapped
from rducodec_cli.progress import progress
from rducodec_cli.terminal import INDENT, amount, print_json, print_table, shown

BYTES_PER_KB = 1024  # kB of the literature
BYTES_PER_SI_KB = 1000
_COMPLETE_NAMES = {ON_DISK: "on disk", RAW_FILE: "as a raw .rdd", LATENT_FILE: "as a latent .rdd"}
_SETTINGS = tuple({setting.name: setting for method in METHODS.values() for setting in method.settings}.values())
_SETTING_NAMES = frozenset(setting.name for setting in _SETTINGS)
_FOREIGN_ONLY = ("max_mse", "latent_steps")  # beside what a source does not say itself
_CSV_HEADER = ("file", "count", "method", "bits_per_class", "parameters_per_class", "worked")


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
        "soft_labels": None if rate.soft_labels is None else asdict(rate.soft_labels),
    }


def soft_label_text(soft: SoftLabelRate) -> str:
    """Bits a label beside the bound of the paper."""
    return (
        f"soft labels: {soft.bits_per_label:,.2f} bits each, {soft.num_classes:,} counts of the sum {soft.total:,} "
        f"(error at most {soft.error:.3g}); Eq. 17 allows {soft.bound_bits:,.1f}, "
        f"{soft.bound_bits / soft.bits_per_label:,.2f} times as many"
    )


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
    if rate.soft_labels is not None:
        click.echo(f"{INDENT}{soft_label_text(rate.soft_labels)}")
    per_class = rate.bpc_bits / 8
    click.echo(
        f"{INDENT}bits per class: {rate.bpc_bits:,.1f} = {per_class:,.1f} bytes = {rate.bpc_kb:,.3f} kB (1024 bytes) = "
        f"{per_class / BYTES_PER_SI_KB:,.3f} KB (1000 bytes)"
    )


def _print_counts(counts: Mapping[str, Count]) -> None:
    """Counts side by side, and beneath how each comes about."""
    header = ["count", "bits per class", "bytes", "kB=1024", "KB=1000"]
    rows = []
    for name, counted in counts.items():
        bits = counted.bits_per_class
        row = [name, "–", "–", "–", "–"]
        if bits is not None:
            num_bytes = float(bits) / 8
            sizes = (num_bytes / BYTES_PER_KB, num_bytes / BYTES_PER_SI_KB)
            row = [name, exact_text(bits), f"{num_bytes:,.1f}", *(f"{size:,.3f}" for size in sizes)]
        rows.append(row)
    print_table(header, rows)
    click.echo()
    for name, counted in counts.items():
        print_wrapped(f"{name}: {counted.worked()}")
        if counted.missing:
            print_wrapped(counted.missing)


def _csv_rows(file: str, counts: Mapping[str, Count]) -> list[list[object]]:
    return [
        [file, name, c.method, plain(c.bits_per_class), plain(c.parameters_per_class), c.worked()]
        for name, c in counts.items()
    ]


def named_complete(found: FileCount) -> dict[str, Count]:
    """The complete counts of a file as a person calls them."""
    return {_COMPLETE_NAMES[name]: whole for name, whole in found.complete.items()}


def _named(found: FileCount) -> dict[str, Count]:
    published = {} if found.as_published is None else {"as published": found.as_published}
    return published | named_complete(found)


def _setting_options(command: options.Command) -> options.Command:
    """One option for each setting of any method; the command gets them as the argument `settings`."""
    for setting in reversed(_SETTINGS):
        default = "" if setting.default is None else f"  [default: {setting.default}]"
        text = f"{setting.text[0].upper()}{setting.text[1:]}.{default}"
        command = click.option(f"--{setting.name}", type=int, metavar="N", help=text)(command)
    return command


def _settings_help() -> str:
    """Which settings each method takes; methods that take the same share a line."""
    lines = ["\b", "Settings of --method:"]
    by_rule: dict[str, list[Method]] = {}
    for method in METHODS.values():
        by_rule.setdefault(method.formula, []).append(method)
    for methods in by_rule.values():
        needed = " ".join(
            f"--{setting.name}" if setting.default is None else f"[--{setting.name}]" for setting in methods[0].settings
        )
        lines.append(f"  {', '.join(method.name for method in methods)}:")
        lines.append(f"    {needed or methods[0].missing}")
    return "\n".join(lines)


def _count_method(name: str, given: Mapping[str, int]) -> Count:
    """Raises click.UsageError that names the option which is wrong."""
    context = click.get_current_context()
    for parameter in context.command.params:
        allowed = parameter.name in ("method", "as_json", "as_csv", "debug") or parameter.opts[0][2:] in _SETTING_NAMES
        if not allowed and context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.get_error_hint(context)} has no meaning with --method", context)
    try:
        return count(name, given)
    except SettingError as error:
        raise click.UsageError(f"--{error.setting}: {error.reason}", context) from error


def _of_files(given: Mapping[str, int]) -> dict[str, Any]:
    """The setting that files take too, as an argument of `count_file`. Raises click.UsageError."""
    context = click.get_current_context()
    for name in given:
        if name != SIZE.name:
            hint = "; use --num-classes" if name == CLASSES.name else ""
            raise click.UsageError(f"--{name} has no meaning without --method{hint}", context)
    if SIZE.name not in given:
        return {}
    try:
        size = SIZE.checked(given[SIZE.name])
    except SettingError as error:
        raise click.UsageError(f"--{error}", context) from error
    return {"size": (size, size)}


def _check_options(files: Sequence[str]) -> None:
    """Raises click.UsageError for an option that would be without effect on one of the files."""
    for file in files:
        if is_rdd(file):
            where = f"for {file}: taken as a .rdd, which states all"
            options.refuse_given((*options.SOURCE_NAMES, "size", *_FOREIGN_ONLY), where)
        else:
            options.refuse_given(("threads", *options.LIMIT_NAMES), f"for {file}, which is no .rdd")


@click.command(epilog=_settings_help())
@click.argument("files", metavar="FILE...", nargs=-1, type=options.FILE)
@click.option("--method", metavar="NAME", type=click.Choice(list(METHODS)), help="Count from settings, without a file.")
@_setting_options
@options.source
@click.option("--max-mse", type=float, metavar="X", help="Of the networks of a checkpoint.  [default: 5e-06]")
@click.option("--latent-steps", type=click.IntRange(min=1), metavar="N", help="Also train tensors to a latent file.")
@csv_option
@options.threads
@options.limits
@options.common
def bpc(
    files: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    method: str | None,
    threads: int | None,
    limits: Limits,
    **rest: Any,
) -> None:
    """Exact bits per class of FILE, or of a --method with its settings.

    A .rdd is counted part by part; the parts sum to the size of the file, and information is what the file's own
    probabilities say. Published checkpoints, folders of images and files .npz, .pt and .safetensors are counted as
    published, by the rule of their method, and complete: on disk, and as a lossless .rdd of the same samples (of a
    checkpoint, or with --latent-steps, also as a latent one); --size N means samples of N x N. --threads and the
    limits are those of a .rdd. A kB in the literature is 1024 bytes. With --json, several files give an array.
    """
    check_formats(as_json, as_csv)
    said = {name: rest.pop(name) for name in options.SOURCE_NAMES}
    extra = {name: value for name in _FOREIGN_ONLY if (value := rest.pop(name)) is not None}
    given = {name.replace("_", "-"): value for name, value in rest.items() if value is not None}
    if method is not None:
        _report_method(_count_method(method, given), as_json=as_json, as_csv=as_csv)
        return
    if not files:
        raise click.UsageError("Missing FILE, or --method with its settings", click.get_current_context())
    said |= _of_files(given)
    _check_options(files)
    said["space"] = None if said["space"] is None else parse_space(said["space"])
    fields: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    for number, file in enumerate(files):
        talk = not (as_json or as_csv)
        if talk and number:
            click.echo()
        if is_rdd(file):
            rate = _report_rdd(file, threads, limits, talk=talk)
            fields.append(rate_fields(file, rate))
            rows += _csv_rows(file, {"on disk": whole_count(rate.file_bits // 8, rate.num_classes)})
        else:
            with progress("counting", 1) as advance:
                found = count_file(file, **said, **extra, progress=advance)
            for remark in found.remarks:
                click.echo(f"note: {shown(remark)}", err=True)
            fields.append(_file_fields(found))
            rows += _csv_rows(file, _named(found))
            if talk:
                _print_title(file, found.num_classes, found.num_samples)
                _print_counts(_named(found))
    if as_json:
        print_json(fields[0] if len(fields) == 1 else fields)
    elif as_csv:
        print_csv(_CSV_HEADER, rows)


def _print_title(file: str, num_classes: int, num_samples: int) -> None:
    classes, samples = amount(num_classes, "class", "classes"), amount(num_samples, "sample")
    click.echo(f"{click.style(shown(file), bold=True)}: {classes}, {samples}")


def _report_rdd(file: str, threads: int | None, limits: Limits, *, talk: bool) -> Rate:
    with options.about(file):
        dataset = rducodec.read(file, limits=limits)
        with progress("counting", dataset.header.num_samples) as advance:
            rate = rducodec.bpc(dataset, threads=threads, progress=advance)
    if talk:
        _print_title(file, rate.num_classes, dataset.header.num_samples)
        print_rate(rate)
    return rate


def _file_fields(found: FileCount) -> dict[str, Any]:
    return {
        "file": found.path,
        "num_classes": found.num_classes,
        "num_samples": found.num_samples,
        "as_published": count_fields(found.as_published),
        "complete": {name: count_fields(whole) for name, whole in found.complete.items()},
    }


def _report_method(found: Count, *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        print_json(count_fields(found))
    elif as_csv:
        print_csv(_CSV_HEADER, _csv_rows("", {"as published": found}))
    else:
        click.echo(f"{click.style(found.method, bold=True)}: {METHODS[found.method].title}")
        _print_counts({"as published": found})
