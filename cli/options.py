"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from click.core import ParameterSource

from rducodec import Limits, RddError, RddInputError
from rducodec.counting.claims import parse_sides
from rducodec.interop.layouts import LAYOUTS

Command = TypeVar("Command", bound=Callable[..., Any])
DEBUG_KEY = "rducodec_cli.debug"  # in the root context's meta

LIMIT_NAMES = tuple(field.name for field in dataclasses.fields(Limits))
_LIMIT_HELP = {
    "max_file_bytes": "Largest file to read.",
    "max_header_bytes": "Largest header to unpack.",
    "max_sample_pixels": "Most pixels of one sample.",
    "max_output_bytes": "Most memory for decoded samples.",
    "max_work": "Most multiplications for decoding.",
}


def _remember_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta[DEBUG_KEY] = True


def common(command: Command) -> Command:
    """--json and --debug, which every command has."""
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_remember_debug, help="Show a traceback on errors."
    )
    machine = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    return machine(debug(command))


def limits(command: Command) -> Command:
    """One option for each field of `Limits`; the command gets them as the argument `limits`."""

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        given = {name: keywords.pop(name) for name in LIMIT_NAMES}
        return command(*arguments, limits=Limits(**given), **keywords)

    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    if hasattr(command, "__click_params__"):
        wrapped.__click_params__ = command.__click_params__  # type: ignore[attr-defined]
    for field in reversed(dataclasses.fields(Limits)):
        option = click.option(
            "--" + field.name.replace("_", "-"),
            type=click.IntRange(min=1),
            metavar="N",
            default=field.default,
            show_default=True,
            help=_LIMIT_HELP.get(field.name, "Limit of the same name."),
        )
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def threads(command: Command) -> Command:
    """--threads."""
    option = click.option(
        "--threads", type=click.IntRange(min=1), metavar="N", help="Threads to use.  [default: one a processor]"
    )
    return option(command)


def device(command: Command) -> Command:
    """--device, for commands that decode."""
    option = click.option(
        "--device",
        metavar="NAME",
        default="numpy",
        show_default=True,
        help="numpy, or a torch device: cpu, cuda, ... The samples are the same.",
    )
    return option(command)


class Parsed(click.ParamType):  # type: ignore[type-arg]
    """What a function makes of a text; its RddInputError becomes an error of usage."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value) if isinstance(value, str) else value
        except RddInputError as error:
            return self.fail(str(error), param, ctx)


def size(command: Command) -> Command:
    """--size, for commands that draw samples; `rdd bpc` has one of its own."""
    text = "Size of the samples that networks of ddif draw."
    return click.option("--size", type=Parsed("HxW", parse_sides), metavar="HxW", help=text)(command)


_SOURCE = (
    click.option("--space", metavar="SPACE", help="Where the values live (see `rdd encode`); known for 8-bit images."),
    click.option(
        "--num-classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Of tensors or a checkpoint.  [default: largest label + 1]",
    ),
    click.option("--divisor", type=click.IntRange(min=1), metavar="N", help="Of integers; 255 for 8-bit pixels."),
    click.option("--layout", type=click.Choice(list(LAYOUTS)), help="Layout of the files.  [default: detected]"),
    click.option("--experiment", type=click.IntRange(min=0), metavar="N", help="Which one of a file of dc, from 0."),
    click.option("--factor", type=click.IntRange(min=1), metavar="N", help="An image of idc holds N x N samples."),
    click.option("--w0", type=click.FloatRange(0, min_open=True), metavar="X", help="Frequency of networks of ddif."),
    click.option("--hard-labels", is_flag=True, help="Of soft labels, keep the class of the largest entry."),
)
SOURCE_NAMES = ("space", "num_classes", "divisor", "layout", "experiment", "factor", "w0", "hard_labels")


def source(command: Command) -> Command:
    """What the files of a source do not say themselves; the command gets the arguments SOURCE_NAMES."""
    for option in reversed(_SOURCE):
        command = option(command)
    return command


def refuse_given(names: Iterable[str], where: str) -> None:
    """Raises click.UsageError for the first of these parameters that the user gave, which has no meaning `where`."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning {where}", context)


FILE = click.Path(dir_okay=True, allow_dash=False)


@contextmanager
def about(path: str) -> Iterator[None]:
    """Errors inside concern this file: its name comes before their message."""
    try:
        yield
    except RddError as error:
        noted = [Path(note) for note in getattr(error, "__notes__", [])]  # by `rducodec.read`
        if not isinstance(error, OSError) and Path(path) not in noted:  # an OSError names its file itself
            error.add_note(path)
        raise


def array_mover(device: str) -> Callable[[Any], Any] | None:
    """What moves arrays to a torch device, or None for numpy. Raises click.BadParameter for a device that fails."""
    return None if device == "numpy" else torch_mover(device)


def torch_mover(device: str) -> Callable[[Any], Any]:
    """What moves arrays to a torch device. Raises click.BadParameter for a device that fails."""
    try:
        from rducodec.torch import on_device  # only where it is asked for

        mover = on_device(device)
        if mover(np.zeros(1)).is_meta:
            raise RuntimeError("holds no numbers")
    except ImportError as error:
        raise click.BadParameter(f"device {device!r} needs torch: {error}", param_hint="--device") from error
    except (RuntimeError, AssertionError) as error:
        raise click.BadParameter(f"device {device!r}: {str(error).splitlines()[0]}", param_hint="--device") from error
    return mover
