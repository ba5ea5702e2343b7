"""What the commands that train for a configuration share: its options, the data, the device."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rducodec import RddIOError, RddVersionError
from rducodec_cli import options
from rducodec_cli.terminal import shown

if TYPE_CHECKING:
    import torch

    from rducodec.training.data import DataSplit
    from rducodec.training.distillation.configuration import Configuration

Command = TypeVar("Command", bound=Callable[..., Any])
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no EDQUOT

_OPTIONS = (
    click.option("--root", metavar="PATH", type=click.Path(), help="Where your copy of the data is."),
    click.option("--cache", metavar="PATH", type=click.Path(), help="Keeps image folders decoded."),
    click.option(
        "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Another value, e.g. samples.spc=8; repeatable."
    ),
    click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of all randomness."),
    click.option("--device", metavar="NAME", default="cpu", show_default=True, help="A torch device: cpu, cuda, ..."),
)


def configured(command: Command) -> Command:
    """--root, --cache, --set (as `overrides`), --seed and --device."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def needs_training(name: str) -> Iterator[None]:
    """Inside, a package that is missing is the extra `train`."""
    try:
        yield
    except ImportError as error:
        raise RddVersionError(f"{name} needs the extra `train` ({error}): pip install 'rducodec[train]'") from error


def read(config: str, settings: Mapping[str, Any], keys: Mapping[str, str]) -> Configuration:
    """The configuration with --set, and with the options that were given for its `keys` (option: key)."""
    from rducodec.training.distillation.configuration import read_configuration
    from rducodec.training.distillation.toml import toml_value

    given = [f"{key}={toml_value(settings[name])}" for name, key in keys.items() if settings[name] is not None]
    return read_configuration(config, [*settings["overrides"], *given])


def load(configuration: Configuration, settings: Mapping[str, Any]) -> DataSplit:
    """The data of a configuration."""
    from rducodec.training.data import load_data

    paths = {name: None if settings[name] is None else Path(settings[name]) for name in ("root", "cache")}
    data = configuration.data
    return load_data(data.name, paths["root"], size=data.size, classes=data.classes, cache=paths["cache"])


def training_device(name: str) -> torch.device:
    """The device; "cuda" is the own one of each process of torchrun. Raises click.BadParameter."""
    import torch

    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    options.torch_mover(name)  # refused before any data is read
    device = torch.device(name)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # where messages between processes go
    return device


def repeated(settings: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """These options as they were given, for a command that follows."""
    words = []
    for name in names:
        value = settings[name]
        if value is not None:
            words += [f"--{name}", str(value)]
    return words


def say(line: str) -> None:
    """What happens now; on standard error, where progress is shown too."""
    click.echo(f"{click.style('>', fg='cyan', bold=True)} {shown(line)}", err=True)


@contextmanager
def interruptible(folder: str, *, tells: bool) -> Iterator[None]:
    """Inside, a training that is interrupted, or that finds the disk full, says how to go on."""
    try:
        yield
    except RddIOError as error:
        if error.errno not in NO_ROOM:
            raise
        how = f"make room or lift the limit, and the same command goes on from the last state in {folder}"
        raise RddIOError(error.errno, f"{error.strerror}; {how}") from error
    except KeyboardInterrupt:
        if tells:
            click.echo(f"note: the same command goes on from the last state in {shown(folder)}", err=True)
        raise
