"""Files and the data that they are tested on: decoded samples, and test images in the same value space."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rducodec.bitstream.header import RawConfig, ValueSpace
from rducodec.bitstream.limits import DEFAULT_LIMITS, Limits
from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.interop.space import describe_space
from rducodec.reader import Dataset, no_progress, read
from rducodec.training.data.labelled import LabelledImages
from rducodec.training.data.space import SampleSpace, fit_space, sample_space
from rducodec.training.distillation.configuration import Configuration
from rducodec.training.distillation.folder import DISTILLED, OVERFITTED, RUN_FILE, configuration_of_run

ZCA = "zca"


@dataclass(frozen=True)
class SampleFile:
    """A .rdd file, opened and not decoded."""

    path: str
    dataset: Dataset
    sha256: str  # of the whole file, hex

    @property
    def bytes_per_class(self) -> float:
        """Of all that is on disk."""
        return self.dataset.container.num_bytes / self.dataset.header.num_classes


@dataclass(frozen=True)
class PreparedFile:
    """A file decoded and brought together with a data set; see `prepare`."""

    file: SampleFile
    samples: NDArray[np.float32]  # (N, C, H, W)
    labels: NDArray[np.int64] | NDArray[np.float32]  # (N,), classes of the data; soft ones (N, K), probabilities
    space: SampleSpace  # from pixels to the values of `samples`
    remarks: tuple[str, ...]


def open_file(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> SampleFile:
    """Open a .rdd file. Raises what `rducodec.read` raises."""
    dataset = read(path, limits=limits)
    with translated_errors(path), Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SampleFile(str(path), dataset, digest)


def overfitted_beside(file: SampleFile) -> Path | None:
    """The overfitted compression beside a run's distilled file, of the images that the distillation started from."""
    path = Path(file.path).with_name(OVERFITTED)
    with translated_errors(path):
        found = is_of_a_run(file) and path.is_file()
    return path if found else None


def configuration_beside(file: SampleFile) -> Configuration | None:
    """How a run's distilled file was made, if it is one of latents. Raises RddInputError where that is damaged."""
    if not is_of_a_run(file) or is_plain_pixels(file):
        return None
    return configuration_of_run(Path(file.path).parent)


def is_of_a_run(file: SampleFile) -> bool:
    """Whether it lies in the folder of a run, under the name that runs give it."""
    return Path(file.path).name == DISTILLED and Path(file.path).with_name(RUN_FILE).is_file()


def is_plain_pixels(file: SampleFile) -> bool:
    """Whether samples without a codec were optimised: a raw file that names the loss."""
    header = file.dataset.header
    return isinstance(header.config, RawConfig) and "loss" in header.texts.recipe


def prepare(
    file: SampleFile,
    train: LabelledImages,
    *,
    spec: str | None = None,
    zca_file: Path | None = None,
    threads: int | None = None,
    progress: Callable[[float], object] = no_progress,
) -> PreparedFile:
    """The decoded samples of a file, checked against its digest, with labels and value space in terms of a data set.

    `spec` and `zca_file` as for `space_of`, `threads` and `progress` as for `rducodec.Dataset.samples`. Raises
    RddInputError where file and data do not fit, before anything is decoded, and what decoding raises.
    """
    check_fits(file, train)
    space = space_of(file, train, spec=spec, zca_file=zca_file)
    labels, remarks = labels_in(file, train)
    return PreparedFile(file, file.dataset.samples(threads=threads, progress=progress), labels, space, remarks)


def check_fits(file: SampleFile, data: LabelledImages) -> None:
    """Raises RddInputError where samples of a file and images of a data set differ in shape or number of classes."""
    header = file.dataset.header
    if header.shape != data.shape:
        found, there = (" x ".join(map(str, shape)) for shape in (header.shape, data.shape))
        raise RddInputError(f"samples of {found} (channels x height x width), but the images of the data are {there}")
    if header.num_classes != data.num_classes:
        raise RddInputError(f"{header.num_classes} classes, but the data has {data.num_classes}")


def labels_in(
    file: SampleFile, data: LabelledImages
) -> tuple[NDArray[np.int64] | NDArray[np.float32], tuple[str, ...]]:
    """Labels of the samples as numbers of the data's classes, soft ones where there are any, and what to say about it.

    Where both name the same classes in another order, names decide. Names that differ otherwise are only told: data
    sets are named in many ways.
    """
    names, soft = file.dataset.header.texts.class_names, file.dataset.soft_labels
    place = np.arange(data.num_classes)
    remarks: tuple[str, ...] = () if soft is None else ("trained on its soft labels",)
    if names and names != data.class_names:
        if sorted(names) == sorted(data.class_names):
            place = np.array([data.class_names.index(name) for name in names], np.int64)
            remarks += ("classes are in another order than in the data: matched by name",)
        else:
            first = next(i for i, pair in enumerate(zip(names, data.class_names, strict=True)) if pair[0] != pair[1])
            remark = f"class {first} is {names[first]!r} in the file and {data.class_names[first]!r} in the data"
            remarks += (f"{remark}: taken as the same",)
    if soft is None:
        return place[file.dataset.labels], remarks
    return soft[:, np.argsort(place)], remarks


def space_of(
    file: SampleFile, train: LabelledImages, *, spec: str | None = None, zca_file: Path | None = None
) -> SampleSpace:
    """The map from pixels to the value space of a file.

    Pixels and standardised values follow from the header. ZCA comes from `zca_file`, or is fitted again to the training
    images with the constants of the header; either way it must be what the header names. `spec`, for `fit_space`, says
    how where the header does not; it must not contradict. Raises RddInputError.
    """
    stated = file.dataset.header.space
    if stated is None or stated.kind == "other":
        if spec is None:
            what = "is not stated in the file" if stated is None else f"is {stated.text!r}"
            raise RddInputError(f"space: it {what}; say how test images come there (--space), e.g. pixels or zca")
        return fit_space(spec, train)
    if spec is None and (stated.kind != ZCA or zca_file is not None):
        return sample_space(stated, train.shape[0], zca_file=zca_file)
    fitted = fit_space(spec or _zca_spec(stated), train)
    if fitted.space != stated:
        raise RddInputError(
            f"space: the file has {describe_space(stated)}, but these training images give "
            f"{describe_space(fitted.space)}; take the data that the file was made from"
        )
    return fitted


def _zca_spec(space: ValueSpace) -> str:
    """What to fit so that the constants are those of the header, where these are in the way of this package."""
    constants = re.match(r"(mean=[^;]*);(std=[^;]*);", space.text)
    return f"{ZCA}:{constants[1]},{constants[2]}" if constants else ZCA
