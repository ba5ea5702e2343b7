"""Samples and labels written in the layouts of others; reading them back gives the same numbers to the last bit."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.interop.folder import check_pixels
from rducodec.interop.layouts.dc import ACCURACIES, DATA, space_of_name
from rducodec.interop.layouts.layout import PIXELS
from rducodec.interop.space import describe_space, space_spec
from rducodec.interop.tensors import check_writable, optional_module, write_tensors

Write = Callable[[BinaryIO, np.ndarray, np.ndarray, ValueSpace | None, np.ndarray | None], None]
WriteFolder = Callable[[Path, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Export:
    """A layout that can be written: a file of `suffix`, by `write`, or a folder, by `write_folder`.

    A folder of images has neither: how its classes are called is not in the arrays.
    """

    name: str
    check: Callable[[Path, int, ValueSpace | None], None]  # target, channels, space: raises RddError
    suffix: str | None = None
    write: Write | None = None
    write_folder: WriteFolder | None = None
    remark: Callable[[ValueSpace | None], str] | None = None  # what a user needs for reading it back
    has_soft_labels: bool = False  # beside the hard ones


def _torch_file(content: Any) -> bytes:
    """Bytes of a torch file; written by us, so that a full disk is an OSError and not one of torch."""
    stream = io.BytesIO()
    optional_module("torch", "writing .pt files").save(content, stream)
    return stream.getvalue()


def _tensors(samples: np.ndarray, labels: np.ndarray) -> list[Any]:
    torch = optional_module("torch", "writing .pt files")
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in (samples, labels)]


def _write_mtt(folder: Path, samples: np.ndarray, labels: np.ndarray) -> None:
    for name, content in zip(("images_best.pt", "labels_best.pt"), _tensors(samples, labels), strict=True):
        (folder / name).write_bytes(_torch_file(content))


def _write_idc(folder: Path, samples: np.ndarray, labels: np.ndarray) -> None:
    (folder / "data.pt").write_bytes(_torch_file(_tensors(samples, labels)))


def _write_dc(stream: BinaryIO, samples: np.ndarray, labels: np.ndarray, *_: object) -> None:
    stream.write(_torch_file({DATA: [_tensors(samples, labels)], ACCURACIES: {}}))


def _check_torch(*_: Any) -> None:
    check_writable(".pt")


def _check_images(_: Path, channels: int, space: ValueSpace | None) -> None:
    check_pixels(channels, space)


def _check_idc(_: Path, __: int, space: ValueSpace | None) -> None:
    check_writable(".pt")
    if space != PIXELS:
        raise RddInputError(f"layout idc holds pixels, the value space of the file is: {describe_space(space)}")


def _check_dc(target: Path, _: int, space: ValueSpace | None) -> None:
    check_writable(".pt")
    named = space_of_name(target)
    if named is not None and named != space:
        raise RddInputError(
            f"{target}: this name says that values are {describe_space(named)}; those of the file are: "
            f"{describe_space(space)}"
        )


def _space_remark(space: ValueSpace | None) -> str:
    stated = "is not stated" if space is None else f"is read back with --space {shlex.quote(space_spec(space))}"
    return f"the layout has no place for the value space, which {stated}"


def _file(suffix: str) -> Export:
    """The plain file of tensors of this suffix, which states its value space."""

    def write(
        stream: BinaryIO, samples: np.ndarray, labels: np.ndarray, space: ValueSpace | None, soft: np.ndarray | None
    ) -> None:
        write_tensors(stream, suffix, samples, labels, space, soft)

    return Export(suffix[1:], lambda *_: check_writable(suffix), suffix, write, has_soft_labels=True)


EXPORTS: dict[str, Export] = {
    export.name: export
    for export in (
        Export("imagefolder", _check_images),
        _file(".npz"),
        _file(".pt"),
        _file(".safetensors"),
        Export("mtt", _check_torch, write_folder=_write_mtt, remark=_space_remark),
        Export("dc", _check_dc, ".pt", _write_dc, remark=_space_remark),
        Export(
            "idc",
            _check_idc,
            write_folder=_write_idc,
            remark=lambda _: "one sample an image: read back with --factor 1",
        ),
    )
}
