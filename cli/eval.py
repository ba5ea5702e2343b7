"""`rdd eval`: what the samples of files are worth for training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rducodec import Limits, RddError, RddInputError
from rducodec.files import check_target, write_file
from rducodec_cli import configured, options
from rducodec_cli.bpc import BYTES_PER_KB
from rducodec_cli.encode import Item
from rducodec_cli.progress import distillation_progress, progress
from rducodec_cli.terminal import INDENT, amount, print_json, print_table, shown

if TYPE_CHECKING:
    import torch

    from rducodec.training.distillation.configuration import Configuration
    from rducodec.training.evaluation.baselines import Capacity
    from rducodec.training.evaluation.evaluate import EvaluationCallback, EvaluationProgress
    from rducodec.training.evaluation.evaluator import Evaluator
    from rducodec.training.evaluation.files import PreparedFile, SampleFile
    from rducodec.training.evaluation.protocols import Protocol
    from rducodec.training.evaluation.result import Row

DEFAULT_PROTOCOL = "mtt-convnet"
_PROTOCOL_OPTIONS = ("epochs", "full_epochs")

Report = Callable[["Row"], None]
Capacities = dict[float, "Sequence[Capacity]"]  # of real images, by bytes per class


@contextmanager
def _training(label: str, networks: int) -> Iterator[EvaluationCallback]:
    """A function for the reports of an evaluation."""
    last: list[EvaluationProgress] = []

    def detail() -> str:
        done = last[-1].accuracies if last else ()
        so_far = f"  {_percent(sum(done) / len(done))} %" if done else ""
        return f"network {min(len(done) + 1, networks)} of {networks}{so_far}"

    with progress(label, 1, detail=detail) as advance:

        def told(state: EvaluationProgress) -> None:
            before = last[-1].step / last[-1].total_steps if last else 0.0
            last[:] = [state]
            advance(max(0.0, state.step / state.total_steps - before))

        yield told


def _numbers(text: str) -> tuple[int, ...]:
    """0,1,6 as numbers; none for an empty text. Raises RddInputError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise RddInputError(f"{text!r}: expected numbers separated by commas")
    return tuple(int(part) for part in parts)


def _words(text: str) -> tuple[str, ...]:
    """float16,8-bits as names of numbers; none for an empty text."""
    return tuple(part.strip().replace("-", " ") for part in text.split(",") if part.strip())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _protocols(settings: dict[str, Any]) -> list[Protocol]:
    from rducodec.training.evaluation.protocols import named_protocol

    given = {name: settings[name] for name in _PROTOCOL_OPTIONS if settings[name] is not None}
    protocol = named_protocol(settings["protocol"])
    names = [name.strip() for name in (settings["nets"] or protocol.network).split(",") if name.strip()]
    return [protocol.with_network(name).with_values(given | dict(settings["set"])) for name in names]


def _evaluator(settings: dict[str, Any], device: torch.device) -> Evaluator:
    from rducodec.training.data import load_data
    from rducodec.training.evaluation.evaluator import Evaluator

    paths = {name: None if settings[name] is None else Path(settings[name]) for name in ("root", "cache")}
    given = {name: settings[name] for name in ("size", "classes")}
    return Evaluator(
        load_data(settings["data"], paths["root"], cache=paths["cache"], **given),
        device,
        num_networks=settings["networks"],
        seed=settings["seed"],
        mixed_precision=settings["mixed_precision"],
    )


def _prepare(
    files: tuple[str, ...], evaluator: Evaluator, limits: Limits, settings: dict[str, Any]
) -> list[PreparedFile]:
    """All files, so that one that is damaged or does not fit is refused before any training."""
    from rducodec.training.evaluation.files import open_file, prepare

    fitting: dict[str, Any] = {"spec": settings["space"], "threads": settings["threads"]}
    if settings["zca_file"] is not None:
        fitting["zca_file"] = Path(settings["zca_file"])
    prepared = []
    for path in files:
        with options.about(path):
            file = open_file(path, limits=limits)
            with progress("decoding", file.dataset.header.num_samples) as advance:
                prepared.append(prepare(file, evaluator.data.train, progress=advance, **fitting))
    return prepared


def _overfitted_rivals(
    files: list[PreparedFile], evaluator: Evaluator, limits: Limits, settings: dict[str, Any]
) -> list[PreparedFile]:
    """The overfitted compressions that runs left beside their files, but for those that are among the files."""
    from rducodec.training.evaluation.files import open_file, overfitted_beside

    found: list[PreparedFile] = []
    for prepared in files:
        path = overfitted_beside(prepared.file)
        if path is None:
            continue
        try:
            if open_file(path, limits=limits).sha256 in {each.file.sha256 for each in (*files, *found)}:
                continue
            (rival,) = _prepare((str(path),), evaluator, limits, settings)
        except RddError as error:  # nobody asked for this file
            click.echo(f"note: {shown(path)}: not taken as a rival: {shown(error)}", err=True)
            continue
        remarks = [f"compressed real images that {prepared.file.path} was distilled from, taken from beside it"]
        excess = rival.file.bytes_per_class / prepared.file.bytes_per_class - 1
        if excess > 0:  # within a run's target, and yet not a rival of the same size
            remarks.append(f"it takes {excess:.1%} more bytes than that file")
        found.append(dataclasses.replace(rival, remarks=(*rival.remarks, *remarks)))
    return found


def _plain_pixels(
    files: list[PreparedFile], evaluator: Evaluator, limits: Limits, settings: dict[str, Any]
) -> list[PreparedFile]:
    """The same loss on plain pixels, trained now in the folders of the files' runs, in as many bytes as each file."""
    from rducodec.training.distillation.plain import PlainPixels
    from rducodec.training.evaluation.files import configuration_beside

    found: list[PreparedFile] = []
    runs = [(each, configuration_beside(each.file)) for each in files]
    if not any(configuration for _, configuration in runs):
        raise RddInputError(
            f"--pixels: {files[0].file.path} is not the distilled file of a run in its folder, which would say how to "
            f"train plain pixels, or is of plain pixels itself; {_plain_pixels_command(files[0].file)}"
        )
    for prepared, configuration in runs:
        if configuration is None:
            continue
        _check_same_data(prepared.file, configuration, settings)
        size, folder = prepared.file.dataset.container.num_bytes, Path(prepared.file.path).parent
        with (
            options.about(prepared.file.path),
            configured.interruptible(str(folder), tells=True),
            distillation_progress(configured.say, num_classes=evaluator.data.train.num_classes) as reports,
        ):
            makes = PlainPixels(
                configuration, evaluator.data, folder, size, settings["pixels_set"], evaluator.device, reports
            )
            made = {number: makes.made(number) for number in settings["pixels"]}
        for number, path in made.items():
            if path is None:
                click.echo(f"note: {shown(prepared.file.path)}: not one sample a class fits as {number}", err=True)
                continue
            (rival,) = _prepare((str(path),), evaluator, limits, settings)
            remark = f"the same loss on plain pixels, as {number}, in at most the bytes of {prepared.file.path}"
            found.append(dataclasses.replace(rival, remarks=(*rival.remarks, remark)))
    return found


def _check_same_data(file: SampleFile, configuration: Configuration, settings: dict[str, Any]) -> None:
    """RddInputError where plain pixels would be made of other images than a file."""
    data = configuration.data
    for name, here, there in (("data", settings["data"], data.name), ("classes", settings["classes"], data.classes)):
        if here != there:
            raise RddInputError(f"--pixels: {file.path} was made with data.{name} = {there!r}, not --{name} {here!r}")


def _tell_plain_pixels(files: list[PreparedFile]) -> None:
    """How to make the rival that takes a training of its own, if it is not there."""
    from rducodec.training.evaluation.files import is_of_a_run, is_plain_pixels

    if any(is_plain_pixels(prepared.file) for prepared in files):
        return
    missing = "not compared with the same loss on plain pixels, which takes a training"
    if any(is_of_a_run(prepared.file) for prepared in files):
        click.echo(f"note: {missing} for each number: --pixels float16,8-bits,2-bits", err=True)
    else:
        click.echo(f"note: {missing}: {_plain_pixels_command(files[0].file)}", err=True)


def _plain_pixels_command(file: SampleFile) -> str:
    from rducodec.training.distillation.configuration import PIXEL_NUMBERS

    size, values = file.bytes_per_class, math.prod(file.dataset.header.shape)
    counts = {name: int(8 * size / (values * PIXEL_NUMBERS[name])) for name in ("float16", "8 bits")}
    fitting = " or ".join(f"{count} as {name}" for name, count in counts.items() if count) or "not one as 8 bits"
    command = "rdd train CONFIG FOLDER --set samples.parameterization=pixels --set export.target_bpc=none"
    return (
        f'{command} --set samples.spc=N --set "export.number=8 bits"; {size / BYTES_PER_KB:.3f} kB hold about {fitting}'
    )


def _evaluate_files(files: list[PreparedFile], evaluator: Evaluator, protocols: list[Protocol], report: Report) -> None:
    for protocol in protocols:
        for prepared in files:
            label = f"{shown(Path(prepared.file.path).name)}, {protocol.network}"
            with options.about(prepared.file.path), _training(label, evaluator.num_networks) as told:
                report(evaluator.of_file(prepared, protocol, progress=told))


def _evaluate_rivals(
    files: list[PreparedFile],
    evaluator: Evaluator,
    protocols: list[Protocol],
    report: Report,
    capacities: Capacities,
) -> None:
    """Real images in the bytes of each file; files of one size and space share them. The first protocol chooses.

    How many of them there is room for goes to `capacities`.
    """
    seen = []
    for prepared in files:
        file, space = prepared.file, prepared.space
        key = (file.bytes_per_class, space.space)
        if key in seen:
            continue
        seen.append(key)
        label = f"choosing rivals of {shown(Path(file.path).name)}"
        with progress(label, 1) as advance:
            comparison = evaluator.compare(file.bytes_per_class, protocols[0], space=space, progress=advance)
        rivals = comparison.rivals
        capacities[file.bytes_per_class] = comparison.capacities
        if not rivals:
            click.echo(f"note: {shown(file.path)}: not one real image a class fits in as many bytes", err=True)
        for protocol in protocols:
            for rival in rivals:
                name = rival[0].name
                with options.about(name), _training(f"{name}, {protocol.network}", evaluator.num_networks) as told:
                    report(evaluator.of_rival(rival, protocol, space=space, progress=told))


def _evaluate_all_images(
    files: list[PreparedFile], evaluator: Evaluator, protocols: list[Protocol], report: Report
) -> None:
    from rducodec.training.data import pixel_space

    space = files[0].space if files else pixel_space(evaluator.data.train.shape[0])
    name = "all training images"
    for protocol in protocols:
        with options.about(name), _training(f"{name}, {protocol.network}", evaluator.num_networks) as told:
            report(evaluator.of_all_real_images(protocol, space=space, progress=told))


def _print_capacities(capacities: Capacities) -> None:
    for size, stores in capacities.items():
        click.echo(f"{INDENT}real images in {size / BYTES_PER_KB:.3f} kB per class:")
        print_table(
            ["kept as", "images per class", "kB per class"],
            [
                [each.name, f"{each.num_per_class:,}", f"{each.bytes_per_class / BYTES_PER_KB:.3f}"]
                if each.num_per_class
                else [each.name, "none", "–"]
                for each in stores
            ],
        )


def _print(rows: list[Row], evaluator: Evaluator, capacities: Capacities) -> None:
    train, test = evaluator.data.train, evaluator.data.test
    num_test = len(test.images) if test else 0
    title = f"{amount(train.num_classes, 'class', 'classes')}, {amount(num_test, 'test image')}"
    click.echo(f"{click.style(shown(evaluator.data.name), bold=True)}: {title}")
    print_table(
        ["training set", "protocol", "kB per class", "samples per class", "test accuracy"],
        [
            [
                row.name,
                row.protocol.name,
                "–" if row.bytes_per_class is None else f"{row.bytes_per_class / BYTES_PER_KB:.3f}",
                f"{row.num_samples / row.num_classes:,.4g}",
                f"{_percent(row.accuracy.mean)} ± {_percent(row.accuracy.std)} %",
            ]
            for row in rows
        ],
        left=2,
    )
    networks = amount(evaluator.num_networks, "network")
    click.echo(f"{INDENT}{networks} each, mean ± standard deviation; seed {evaluator.seed}")
    _print_capacities(capacities)
    for row in rows:
        for remark in row.remarks:
            click.echo(f"note: {shown(row.name)}: {shown(remark)}", err=True)


@click.command("eval")
@click.argument("files", metavar="FILE...", nargs=-1, type=options.FILE)
@click.option(
    "--data", metavar="NAME", required=True, help="Data set with the test images: cifar10, digits, folder, ..."
)
@click.option("--root", metavar="PATH", type=click.Path(), help="Where your copy of it is.")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Side of the images of a folder.")
@click.option("--cache", metavar="PATH", type=click.Path(), help="Keeps image folders decoded.")
@click.option(
    "--classes",
    type=options.Parsed("A,B,...", _numbers),
    default="",
    help="Only these classes of the data, in this order, e.g. 0,1,6,7.",
)
@click.option("--space", metavar="SPACE", help="How images come to the values of a file that does not say it.")
@click.option("--zca-file", metavar="PATH", type=click.Path(), help="ZCA constants.  [default: fitted again]")
@click.option("--protocol", metavar="NAME", default=DEFAULT_PROTOCOL, show_default=True, help="How to train.")
@click.option("--nets", metavar="A,B,...", help="Networks, e.g. convnet,alexnet,vgg11,resnet18,vit.")
@click.option(
    "--networks", type=click.IntRange(min=1), metavar="N", default=5, show_default=True, help="Trained for each number."
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="In place of those of the protocol.")
@click.option("--set", type=Item(), multiple=True, help="Another value of the protocol, e.g. batch_size=128.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all randomness.")
@click.option("--device", metavar="NAME", default="cpu", show_default=True, help="A torch device: cpu, cuda, ...")
@click.option("--mixed-precision", is_flag=True, help="Products of the networks in bfloat16.")
@click.option("--baselines", is_flag=True, help="Also rivals of the same size: real images, ...")
@click.option(
    "--pixels",
    type=options.Parsed("A,B,...", _words),
    default="",
    help="Also the same loss on plain pixels: float32,float16,8-bits,4-bits,2-bits.",
)
@click.option(
    "--pixels-set", metavar="KEY=VALUE", multiple=True, help="Of their training, e.g. joint.learning_rate=1e-2."
)
@click.option("--full-data", is_flag=True, help="Also all training images.")
@click.option("--full-epochs", type=click.IntRange(min=1), metavar="N", help="Of --full-data.")
@click.option("--out", metavar="PATH", type=click.Path(), help="Write the result as JSON; after every row.")
@options.threads
@options.limits
@options.common
def evaluation(files: tuple[str, ...], as_json: bool, limits: Limits, **settings: Any) -> None:
    """Train classifiers on the decoded samples of each FILE and test them on real images.

    NAME of a protocol: mtt-convnet (that of published accuracies: 1000 epochs), quick-convnet (minutes on a laptop),
    digits (seconds). With --nets, networks other than that of the protocol are trained by Adam at a fixed rate.
    --baselines takes the same classifiers to real training images that are kept in at most the bytes of a FILE: as
    8-bit pixels, as PNG, by the lossless way that keeps most, as JPEG and as WebP, each at the quality that does best
    on held-out training images; and to the overfitted.rdd that a run leaves beside a FILE. It says how many images each
    way keeps. --pixels trains the loss of the run once more for each way to store a number, on as many samples of plain
    pixels as the bytes of FILE hold, and keeps these runs beside FILE. --json and --out have every accuracy, all values
    of the protocol, the digests of the files and the fingerprint of the data.
    """
    if not files and not settings["full_data"]:
        raise click.UsageError("Missing FILE, or --full-data", click.get_current_context())
    if not settings["full_data"]:
        options.refuse_given(("full_epochs",), "without --full-data")
    if not files:
        options.refuse_given(("baselines", "pixels", "space", "zca_file"), "without FILE")
    if not settings["pixels"]:
        options.refuse_given(("pixels_set",), "without --pixels")
    out = settings["out"]
    if out is not None:
        check_target(out, inputs=files)
    with configured.needs_training("rdd eval"):
        from rducodec.training.distillation.plain import check_numbers
        from rducodec.training.evaluation.classify import check_trainable
        from rducodec.training.evaluation.result import data_fields, document_bytes, result_document

        protocols = _protocols(settings)
        check_numbers(settings["pixels"])
        device = configured.training_device(settings["device"])
    evaluator = _evaluator(settings, device)
    for protocol in protocols:
        check_trainable(protocol, evaluator.data.train.shape, evaluator.data.train.num_classes)
    prepared = _prepare(files, evaluator, limits, settings)
    data = data_fields(evaluator.data)
    rivals = _overfitted_rivals(prepared, evaluator, limits, settings) if settings["baselines"] else []
    if settings["pixels"]:
        rivals += _plain_pixels(prepared, evaluator, limits, settings)
    elif settings["baselines"]:
        _tell_plain_pixels(prepared)
    rows: list[Row] = []
    capacities: Capacities = {}

    def document() -> dict[str, Any]:
        precision = settings["mixed_precision"]
        return result_document(rows, data, device=device, mixed_precision=precision, capacities=capacities)

    def report(row: Row) -> None:
        rows.append(row)
        if out is not None:
            write_file(out, document_bytes(document()), inputs=files)

    _evaluate_files([*prepared, *rivals], evaluator, protocols, report)
    if settings["baselines"]:
        _evaluate_rivals(prepared, evaluator, protocols, report, capacities)
    if settings["full_data"]:
        _evaluate_all_images(prepared, evaluator, protocols, report)
    if as_json:
        print_json(document())
    else:
        _print(rows, evaluator, capacities)
