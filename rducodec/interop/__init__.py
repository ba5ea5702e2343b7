"""Datasets that users already have, as arrays that can be encoded: image folders and files of tensors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError, RddIOError
from rducodec.interop.folder import read_folder
from rducodec.interop.source import SourceSet, make_source
from rducodec.interop.tensors import read_npz, read_pt, read_safetensors

__all__ = ["SourceSet", "make_source", "read_source"]

_READERS: dict[str, Callable[..., SourceSet]] = {".npz": read_npz, ".pt": read_pt, ".safetensors": read_safetensors}


def read_source(
    path: str | Path,
    *,
    space: ValueSpace | None = None,
    divisor: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
) -> SourceSet:
    """Samples and labels of an image folder, or of an .npz, .pt or .safetensors file.

    `space` says where the values live; it can be left out for 8-bit images and for files that state it. `divisor`
    says what integers are divided by (255 for 8-bit pixels). `num_classes` and `class_names` serve tensors, whose
    classes are otherwise 0 to the largest label. Raises RddIOError, RddInputError for what cannot be represented,
    RddVersionError where an optional package is missing.
    """
    path = Path(path)
    if path.is_dir():
        if divisor is not None or num_classes is not None or class_names:
            raise RddInputError(f"{path}: a folder of images states its own divisor, classes and names")
        return read_folder(path, space=space)
    if not path.exists():
        raise RddIOError(errno.ENOENT, f"{path}: {os.strerror(errno.ENOENT)}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        kinds = ", ".join(sorted(_READERS))
        raise RddInputError(f"{path}: not a source; a folder of images (class/...) or a file {kinds} expected")
    return reader(path, space=space, divisor=divisor, num_classes=num_classes, class_names=class_names)
