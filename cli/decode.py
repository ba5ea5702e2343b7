"""`rdd decode`: samples and labels as arrays or images."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

import rducodec
from rducodec import Dataset, Limits
from rducodec.files import check_folder_target, check_target, replacing, replacing_folder
from rducodec.interop import tensors
from rducodec.interop.folder import to_pixels, write_image
from rducodec.interop.layouts import IMAGE_FOLDER
from rducodec.interop.layouts.export import EXPORTS, Export
from rducodec.interop.space import describe_space, space_fields
from rducodec_cli import options
from rducodec_cli.progress import progress
from rducodec_cli.terminal import amount, print_json, shown

MIN_DIGITS = 4  # of the number of an image


def chosen_classes(text: str | None, dataset: Dataset) -> list[int] | None:
    """Class numbers of a list of numbers and names, separated by commas. Raises click.BadParameter."""
    if text is None:
        return None
    names = dataset.header.texts.class_names
    if text in names:  # a name may contain a comma
        return [names.index(text)]
    chosen = []
    for part in (part.strip() for part in text.split(",")):
        if part in names:
            chosen.append(names.index(part))
        elif part.isascii() and part.isdigit() and int(part) < dataset.header.num_classes:
            chosen.append(int(part))
        else:
            known = f"0..{dataset.header.num_classes - 1}" + (" and names" if names else "")
            raise click.BadParameter(f"class {part!r} does not exist, the file has {known}", param_hint="--classes")
    return sorted(set(chosen))


def _class_folders(dataset: Dataset) -> list[str]:
    count = dataset.header.num_classes
    width = len(str(count - 1))
    return list(dataset.header.texts.class_names) or [f"{label:0{width}d}" for label in range(count)]


def _write_folder(
    out: Path, file: str, dataset: Dataset, wanted: list[int] | None, samples: np.ndarray, labels: np.ndarray
) -> None:
    pixels = to_pixels(samples, dataset.header.space)
    folders = _class_folders(dataset)
    with replacing_folder(out, inputs=[file]) as folder, progress("writing images", len(pixels)) as advance:
        for label in range(len(folders)) if wanted is None else wanted:  # also those without samples
            place = folder / folders[label]
            place.mkdir()
            rows = np.flatnonzero(labels == label)
            digits = max(MIN_DIGITS, len(str(len(rows) - 1)))
            for number, row in enumerate(rows.tolist()):
                write_image(place / f"{number:0{digits}d}.png", pixels[row])
                advance(1)


@click.command()
@click.argument("file", type=options.FILE)
@click.argument("out", type=click.Path())
@click.option("--classes", metavar="LIST", help="Only these classes: numbers or names, separated by commas.")
@click.option("--layout", type=click.Choice(list(EXPORTS)), help="Layout of OUT.  [default: by its name]")
@options.device
@options.threads
@options.limits
@options.common
def decode(
    file: str,
    out: str,
    as_json: bool,
    classes: str | None,
    layout: str | None,
    device: str,
    threads: int | None,
    limits: Limits,
) -> None:
    """Decode FILE to OUT.

    OUT is a file .npz, .pt or .safetensors with `samples` (float32, samples x channels x height x width), `labels`
    (int64), `soft_labels` (float32, samples x classes) if there are any, and `space` (JSON); or else a folder of 8-bit
    images, class/0000.png. Samples are in the value space that the file states; images are brought back to pixels. With
    --layout, OUT has the files of a method: a folder for mtt and idc, a file .pt for dc, with the samples to the last
    bit.
    """
    target = Path(out)
    export = _export(out, layout)
    mover = options.array_mover(device) or np.asarray
    with options.about(file):
        dataset = rducodec.read(file, limits=limits)
        wanted = chosen_classes(classes, dataset)
        export.check(target, dataset.header.shape[0], dataset.header.space)
        (check_folder_target if export.suffix is None else check_target)(target, inputs=[file])
        labels = dataset.labels if wanted is None else dataset.labels_of(wanted)
        with progress("decoding", len(labels)) as advance:
            samples = dataset.samples(wanted, threads=threads, xp_array=mover, progress=advance)
        soft = dataset.soft_labels if export.has_soft_labels else None
        soft = soft if soft is None or wanted is None else soft[dataset.rows_of(wanted)]
    if export.write:
        with replacing(target, inputs=[file]) as stream:
            export.write(stream, samples, labels, dataset.header.space, soft)
    elif export.write_folder:
        with replacing_folder(target, inputs=[file]) as folder:
            export.write_folder(folder, samples, labels)
    else:
        _write_folder(target, file, dataset, wanted, samples, labels)
    _report(file, out, dataset, samples, labels, as_json=as_json, to_images=export.name == IMAGE_FOLDER)
    if export.remark is not None:
        click.echo(f"note: {shown(export.remark(dataset.header.space))}", err=True)
    if dataset.soft_section is not None and not export.has_soft_labels:
        click.echo(f"note: layout {export.name} has no place for the soft labels of the file: classes only", err=True)


def _export(out: str, layout: str | None) -> Export:
    """How OUT is written: in the layout that is named, or the one that its name says. Raises click.BadParameter."""
    suffix = Path(out).suffix.lower()
    known = suffix in tensors.SUFFIXES
    if layout is None and suffix and not known and not out.endswith(("/", "\\")):
        problem = f"{suffix!r} is none of {', '.join(tensors.SUFFIXES)}; the name of a folder with a dot must end in /"
        raise click.BadParameter(problem, param_hint="OUT")
    export = EXPORTS[layout or (suffix[1:] if known else IMAGE_FOLDER)]
    if known if export.suffix is None else suffix != export.suffix:  # a folder called x.npz is a slip
        kind = "a folder" if export.suffix is None else f"a file {export.suffix}"
        raise click.BadParameter(f"{out!r}: {kind} expected for layout {export.name}", param_hint="OUT")
    return export


def _report(
    file: str, out: str, dataset: Dataset, samples: np.ndarray, labels: np.ndarray, *, as_json: bool, to_images: bool
) -> None:
    classes = np.unique(labels).tolist()
    space = {"kind": "pixels"} if to_images else space_fields(dataset.header.space)
    if as_json:
        print_json(
            {
                "file": file,
                "out": out,
                "shape": list(samples.shape),
                "dtype": "uint8" if to_images else "float32",
                "classes": classes,
                "space": space,
            }
        )
        return
    shape = " x ".join(map(str, samples.shape[1:]))
    what = "8-bit images" if to_images else f"float32; {describe_space(dataset.header.space)}"
    counts = f"{amount(len(samples), 'sample')} of {shape}, {amount(len(classes), 'class', 'classes')}"
    click.echo(f"{click.style(shown(out), bold=True)}: {counts}; {shown(what)}")
