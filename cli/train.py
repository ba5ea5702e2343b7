"""`rdd train`: distil a data set into a file, as a configuration says."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import rducodec
from rducodec import RddVersionError
from rducodec_cli import configured, options
from rducodec_cli.bpc import print_rate, rate_fields
from rducodec_cli.eval import DEFAULT_PROTOCOL
from rducodec_cli.progress import distillation_progress
from rducodec_cli.terminal import INDENT, print_json, print_table, shown

if TYPE_CHECKING:
    import torch

    from rducodec.training.distillation.configuration import Configuration
    from rducodec.training.distillation.run import Distillation, Distilled
    from rducodec.training.group import Group

TRAJECTORY = "tm"  # the loss that follows experts
SPARE_SHARE = 0.02  # of the size asked for, that a file may leave unused before it is said
_KEYS = {  # of options that stand for one value of the configuration
    "seed": "seed",
    "iterations": "joint.iterations",
    "target_bpc": "export.target_bpc",
    "experts": "utility.options.experts",
}
_COLUMNS = ("name", "data", "loss", "spc", "decoder", "entropy", "target", "description")


def _row(name: str, configuration: Configuration) -> dict[str, Any]:
    """One line of --list, for machines."""
    samples, target = configuration.samples, configuration.export.target_bpc
    latent = samples.parameterization == "latent"
    values = {
        "data": configuration.data.name,
        "loss": configuration.utility.loss,
        "spc": samples.spc,
        "decoder": samples.decoder if latent else None,
        "entropy": samples.entropy if latent else None,
        "target": target if latent else None,
    }
    return {"name": name, **values, "description": configuration.description}


def _list(*, as_json: bool) -> None:
    from rducodec.training.distillation.configuration import configuration_names, read_configuration

    rows = [_row(name, read_configuration(name)) for name in configuration_names()]
    if as_json:
        print_json(rows)
        return
    cells = [["–" if row[name] is None else f"{row[name]}" for name in _COLUMNS] for row in rows]
    print_table([*_COLUMNS[:6], "kB/class", _COLUMNS[-1]], cells, left=len(_COLUMNS))
    click.echo(f"{INDENT}without a size, the two weights of a configuration decide it; --show prints all values")


def _show(configuration: Configuration, *, as_json: bool) -> None:
    from rducodec.training.distillation.toml import toml_text

    if as_json:
        print_json(configuration.fields())
    else:
        click.echo(toml_text(configuration), nl=False)


def _check(config: str, configuration: Configuration, *, tensorboard: bool) -> None:
    """What would only show after hours."""
    from rducodec.training.evaluation.protocols import named_protocol

    named_protocol(configuration.evaluation.protocol)
    utility = configuration.utility
    if utility.loss != TRAJECTORY:
        options.refuse_given(("experts",), f"with the loss {utility.loss}")
    elif "experts" not in utility.options:
        command = shlex.join(["rdd", "experts", config, "EXPERTS"])
        raise click.UsageError(
            f"Missing --experts: trajectory matching needs trained networks to follow; `{command}` trains them",
            click.get_current_context(),
        )
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise RddVersionError("--tensorboard needs another package: pip install tensorboard")


def _distil(
    configuration: Configuration, folder: Path, device: torch.device, group: Group, settings: dict[str, Any]
) -> tuple[Distillation, Distilled]:
    from rducodec.training.distillation.run import Distillation

    distillation = Distillation(
        configuration,
        configured.load(configuration, settings),
        folder,
        device=device,
        group=group,
        tensorboard=settings["tensorboard"],
    )
    num_thresholds = len(configuration.export.thresholds)
    with distillation_progress(
        configured.say, num_classes=distillation.train.num_classes, num_thresholds=num_thresholds
    ) as reports:
        if group.is_first:
            distillation.reports = reports
        return distillation, distillation.run()


def _next_command(distillation: Distillation, file: Path, settings: dict[str, Any]) -> list[str]:
    """What shows the worth of the file."""
    from rducodec.training.distillation.run import ZCA_FILE

    configuration = distillation.configuration
    evaluation = configuration.evaluation
    words = ["rdd", "eval", str(file), "--data", configuration.data.name, *configured.repeated(settings, ("root",))]
    if configuration.data.classes:
        words += ["--classes", ",".join(map(str, configuration.data.classes))]
    if configuration.data.size is not None:
        words += ["--size", str(configuration.data.size)]
    if distillation.space.fit is not None:
        words += ["--zca-file", str(distillation.folder / ZCA_FILE)]
    if evaluation.protocol != DEFAULT_PROTOCOL:
        words += ["--protocol", evaluation.protocol]
    words += ["--networks", str(evaluation.networks), "--device", settings["device"]]
    return words + configured.repeated(settings, ("cache",))


def _report(distillation: Distillation, distilled: Distilled, settings: dict[str, Any], *, as_json: bool) -> None:
    rate = rducodec.bpc(distilled.exported.data)
    exported = distilled.exported
    command = _next_command(distillation, distilled.file, settings)
    threshold = None if distilled.overfitted is None else exported.max_mse
    used = None if distillation.max_bytes is None else len(exported.data) / distillation.max_bytes
    if used is not None and used < 1 - SPARE_SHARE:
        click.echo(
            f"note: the file takes {used:.0%} of the size that export.target_bpc allows: more iterations, more samples "
            "(samples.spc) or a larger samples.decoder could use the rest",
            err=True,
        )
    if as_json:
        overfitted = None if distilled.overfitted is None else str(distilled.overfitted)
        fields = {
            "overfitted": overfitted,
            "threshold": threshold,
            "mse": exported.mse,
            "share_of_target": used,
            "next": command,
        }
        print_json(rate_fields(str(distilled.file), rate) | fields)
        return
    per_class = rate.bpc_bits / 8
    title = click.style(shown(distilled.file), bold=True)
    click.echo(f"{title}: {per_class:,.1f} bytes per class; decoded samples differ from the trained ones by a")
    how = "" if threshold is None else f", networks quantised at {threshold:g}"
    click.echo(f"{INDENT}mean squared error of {exported.mse:.3g}{how}")
    print_rate(rate)
    if distilled.overfitted is not None:
        click.echo(f"{INDENT}before the distillation, as compressed real images: {shown(distilled.overfitted)}")
    click.echo(f"{INDENT}next: {shown(shlex.join(command))}")


@click.command()
@click.argument("config", metavar="CONFIG", required=False)
@click.argument("folder", metavar="FOLDER", required=False, type=click.Path(file_okay=False))
@click.option("--list", "wants_list", is_flag=True, help="Show all configurations that come with the package.")
@click.option("--show", "wants_values", is_flag=True, help="Show all values of CONFIG as TOML.")
@configured.configured
@click.option("--target-bpc", type=float, metavar="KB", help="Size of a class, in kB of 1024 bytes.")
@click.option("--iterations", type=click.IntRange(min=1), metavar="N", help="Of the joint optimisation.")
@click.option("--experts", metavar="PATH", type=click.Path(), help="Folder of `rdd experts`, for trajectory matching.")
@click.option("--tensorboard", is_flag=True, help="Write the course for TensorBoard too, beside log.csv.")
@options.common
def train(
    config: str | None,
    folder: str | None,
    as_json: bool,
    wants_list: bool,
    wants_values: bool,
    **settings: Any,
) -> None:
    """Distil a data set into FOLDER/distilled.rdd, as CONFIG says: a name of --list, or a TOML file.

    Real images are compressed first (overfitted.rdd), then optimised for what a network learns from them, together with
    their size. FOLDER keeps the state: the same command goes on where it was interrupted, to the same file. A TOML file
    holds what differs from its `base`, e.g. base = "digits"; --set KEY= brings back a default. Several processes share
    the work: torchrun --nproc-per-node 4 -m rducodec_cli.main train ... --device cuda.
    """
    _check_usage(config, folder, wants_list=wants_list, wants_values=wants_values)
    with configured.needs_training("rdd train"):
        from rducodec.training.group import joined_group

        if config is None:
            _list(as_json=as_json)
            return
        configuration = configured.read(config, settings, _KEYS)
        if folder is None:
            _show(configuration, as_json=as_json)
            return
        _check(config, configuration, tensorboard=settings["tensorboard"])
        device = configured.training_device(settings["device"])
        with joined_group(device) as group, configured.interruptible(folder, tells=group.is_first):
            distillation, distilled = _distil(configuration, Path(folder), device, group, settings)
            if group.is_first:
                _report(distillation, distilled, settings, as_json=as_json)


def _check_usage(config: str | None, folder: str | None, *, wants_list: bool, wants_values: bool) -> None:
    context = click.get_current_context()
    if wants_list and wants_values:
        raise click.UsageError("--list and --show are different things", context)
    if wants_list and config is not None:
        raise click.UsageError("--list takes no CONFIG; --show shows one", context)
    if wants_values and folder is not None:
        raise click.UsageError("--show takes no FOLDER", context)
    if config is None and not wants_list:
        raise click.UsageError("Missing CONFIG; --list shows all names", context)
    if folder is None and not (wants_list or wants_values):
        raise click.UsageError("Missing FOLDER for what the training makes", context)
