"""`rdd experts`: networks trained on real images, every epoch kept, for trajectory matching."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rducodec.files import GB, check_room
from rducodec_cli import configured, options
from rducodec_cli.progress import resumable_progress
from rducodec_cli.terminal import INDENT, amount, print_json, shown
from rducodec_cli.train import TRAJECTORY

if TYPE_CHECKING:
    import torch

    from rducodec.training.distillation.configuration import Configuration
    from rducodec.training.experts import ExpertSettings, ExpertStore
    from rducodec.training.group import Group

_KEYS = {  # of options that stand for one value of the configuration
    "seed": "seed",
    "num_experts": "experts.num_experts",
    "epochs": "experts.epochs",
    "batched": "experts.batched",
}
FLOAT_BYTES = 4


def _settings(configuration: Configuration) -> ExpertSettings:
    """Of experts that fit the loss of a configuration."""
    from rducodec.training.experts import ExpertSettings

    utility = configuration.utility
    return ExpertSettings(
        seed=configuration.seed,
        network=utility.network,
        network_options=utility.network_options,
        augmentation=utility.augmentation,
        mixed_precision=utility.mixed_precision,
        **configuration.experts.given(),
    )


def num_bytes(settings: ExpertSettings, *, shape: tuple[int, int, int], num_classes: int) -> int:
    """Of all trajectories, and of the group that is being put together."""
    from rducodec.training.classifiers import build_classifier

    channels, height, width = shape
    network = build_classifier(
        settings.network, channels=channels, num_classes=num_classes, size=(height, width), **settings.network_options
    )
    values = sum(math.prod(parameter.shape) for parameter in network.parameters())
    experts = settings.num_experts + min(settings.num_experts, settings.batched)
    return FLOAT_BYTES * values * experts * (settings.epochs + 1)


def _num_bytes_there(folder: Path) -> int:
    """Of the trajectories that a folder holds already."""
    return sum(path.stat().st_size for path in folder.glob("experts-*.safetensors")) if folder.is_dir() else 0


def _train(
    configuration: Configuration, folder: Path, device: torch.device, group: Group, settings: dict[str, Any]
) -> None:
    from rducodec.training.data import RealImages, fit_space
    from rducodec.training.experts import train_experts

    expert_settings = _settings(configuration)
    split = configured.load(configuration, settings)
    train, test = split.train, split.test
    space = fit_space(configuration.data.space, train)
    needed = num_bytes(expert_settings, shape=train.shape, num_classes=train.num_classes)
    check_room(
        folder,
        num_bytes=needed,
        num_bytes_there=_num_bytes_there(folder),
        what="trajectories",
        advice="choose another folder, fewer experts or fewer epochs",
    )
    if group.is_first:
        count, epochs = amount(expert_settings.num_experts, "expert"), amount(expert_settings.epochs, "epoch")
        configured.say(f"training {count} for {epochs}: about {needed / GB:.2g} GB")
        if expert_settings.num_groups < group.size:
            batched = amount(expert_settings.batched, "expert")
            click.echo(
                f"note: {group.size - expert_settings.num_groups} of {group.size} processes have nothing to do: "
                f"{batched} are trained together, see --batched",
                err=True,
            )
    with resumable_progress("training experts") as told:

        def report(done: int, total: int) -> None:
            told(done / max(1, total), f"epoch {done} of {total}")

        train_experts(
            RealImages.of(train, space, device),
            num_classes=train.num_classes,
            shape=train.shape,
            settings=expert_settings,
            folder=folder,
            device=device,
            group=group,
            progress=report if group.is_first else None,
            test=None if test is None else RealImages.of(test, space, device),
            data_name=split.name,
        )


def _report(store: ExpertStore, command: list[str], *, as_json: bool) -> None:
    from rducodec.training.evaluation.accuracy import Accuracy

    accuracy = store.test_accuracy
    if as_json:
        fields = {"num_experts": store.num_experts, "num_epochs": store.num_epochs}
        print_json({"folder": str(store.folder), **fields, "test_accuracy": accuracy, "next": command})
        return
    title = click.style(shown(store.folder), bold=True)
    click.echo(f"{title}: {amount(store.num_experts, 'expert')}, {amount(store.num_epochs, 'epoch')}")
    if accuracy is not None:
        mean, deviation = 100 * Accuracy(accuracy).mean, 100 * Accuracy(accuracy).std
        click.echo(f"{INDENT}test accuracy after the last epoch: {mean:.1f} ± {deviation:.1f} %")
    click.echo(f"{INDENT}next: {shown(shlex.join(command))}")


def _next_command(config: str, configuration: Configuration, folder: str, settings: dict[str, Any]) -> list[str]:
    """The training that follows these experts, in a folder that the user names."""
    words = ["rdd", "train", config, "FOLDER"]
    for override in settings["overrides"]:
        words += ["--set", override]
    if configuration.utility.loss != TRAJECTORY:
        words += ["--set", f"utility.loss={TRAJECTORY}"]
    words += ["--experts", folder]
    return words + configured.repeated(settings, ("root", "cache", "seed", "device"))


@click.command()
@click.argument("config", metavar="CONFIG")
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False))
@click.option("--num-experts", type=click.IntRange(min=1), metavar="N", help="Networks to train.  [default: 100]")
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Passes over all images.  [default: 50]")
@click.option("--batched", type=click.IntRange(min=1), metavar="N", help="Trained side by side.  [default: 10]")
@configured.configured
@options.common
def experts(config: str, folder: str, as_json: bool, **settings: Any) -> None:
    """Train networks on real images and keep them after every epoch in FOLDER, for trajectory matching.

    Data, value space, network and augmentation are those of CONFIG, a name of `rdd train --list` or a TOML file; its
    table `experts` may have other defaults. The same command goes on where it was interrupted. Several processes share
    the networks: torchrun --nproc-per-node 4 -m rducodec_cli.main experts ... --device cuda.
    """
    with configured.needs_training("rdd experts"):
        from rducodec.training.experts import ExpertStore
        from rducodec.training.group import joined_group

        configuration = configured.read(config, settings, _KEYS)
        device = configured.training_device(settings["device"])
        with joined_group(device) as group, configured.interruptible(folder, tells=group.is_first):
            _train(configuration, Path(folder), device, group, settings)
            if group.is_first:
                command = _next_command(config, configuration, folder, settings)
                _report(ExpertStore.open(Path(folder)), command, as_json=as_json)
