"""Files of expert trajectories: one for each epoch while a group trains, one for the group when it has finished.

`experts-00003.safetensors`: every parameter of group 3 as float32 (expert, epoch, ...), epoch 0 the initial weights.
`experts-00003.epoch-00007.safetensors`: the parameters of its networks after epoch 7, (expert, ...), and the momenta.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rducodec.errors import RddInputError, RddIOError
from rducodec.files import replacing

KEY = "rducodec"  # of the JSON text in a file's metadata
MOMENTUM = "momentum/"  # prefix of names in the file of an epoch
OWN_FIELDS = ("group", "epoch", "test_accuracy")  # that differ among the files of a folder
COMMAND = "rdd experts"
_GROUP_NAME = re.compile(r"experts-(\d{5,})\.safetensors")
_EPOCH_NAME = re.compile(r"experts-(\d{5,})\.epoch-(\d{5,})\.safetensors")
_ALIGNMENT = 8  # of the tensors in the file
_TYPE, _BYTES = "F32", 4


def group_path(folder: Path, group: int) -> Path:
    """The file of a finished group."""
    return folder / f"experts-{group:05}.safetensors"


def epoch_path(folder: Path, group: int, epoch: int) -> Path:
    """The file of a group as it is after an epoch."""
    return folder / f"experts-{group:05}.epoch-{epoch:05}.safetensors"


def group_files(folder: Path) -> dict[int, Path]:
    """Files of finished groups by their numbers."""
    return {int(match[1]): path for path, match in _matches(folder, _GROUP_NAME)}


def epoch_files(folder: Path) -> dict[tuple[int, int], Path]:
    """Files of epochs of unfinished groups by group and epoch."""
    return {(int(match[1]), int(match[2])): path for path, match in _matches(folder, _EPOCH_NAME)}


def _matches(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise RddIOError(error.errno, f"experts {folder}: {error.strerror or error}") from error
    for path in paths:
        if match := pattern.fullmatch(path.name):
            yield path, match


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as safetensors reads it; RddInputError where it is damaged, RddIOError where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise RddInputError(f"experts {path}: damaged ({error}); remove it and continue with `{COMMAND}`") from error
    except OSError as error:
        raise RddIOError(error.errno, f"experts {path}: {error.strerror or error}") from error


def read_fields(path: Path) -> dict[str, Any]:
    """The JSON fields of a file."""
    with opened(path) as file:
        text = (file.metadata() or {}).get(KEY)
    try:
        fields = json.loads(text or "")
    except json.JSONDecodeError as error:
        raise RddInputError(f"experts {path}: not written by `{COMMAND}`") from error
    if not isinstance(fields, dict):
        raise RddInputError(f"experts {path}: not written by `{COMMAND}`")
    return fields


def common_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that all files of a training share."""
    return {name: value for name, value in fields.items() if name not in OWN_FIELDS}


def assemble(path: Path, epochs: Sequence[Path], fields: Mapping[str, Any]) -> None:
    """Write the file of a group from those of its epochs 0, 1, ...; only one parameter is in memory at a time."""
    with ExitStack() as stack:
        files = [stack.enter_context(opened(epoch)) for epoch in epochs]
        names = sorted(name for name in list(files[0].keys()) if not name.startswith(MOMENTUM))
        shapes = {}
        for name in names:
            count, *rest = files[0].get_slice(name).get_shape()
            shapes[name] = (count, len(files), *rest)
        blocks = (torch.stack([file.get_tensor(name) for file in files], 1) for name in names)
        _write(path, shapes, blocks, {KEY: json.dumps(dict(fields))})


def _write(
    path: Path, shapes: Mapping[str, tuple[int, ...]], blocks: Iterator[Tensor], metadata: Mapping[str, str]
) -> None:
    """A safetensors file of float32 tensors that are made one after the other."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _BYTES * torch.Size(shape).numel()
        header[name] = {"dtype": _TYPE, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with replacing(path) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for block in blocks:
            stream.write(block.numpy().astype("<f4", copy=False).tobytes())
