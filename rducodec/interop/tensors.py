"""Files of tensors with samples and labels under well-known names: .npz, .pt, .safetensors, read and written."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError, RddVersionError
from rducodec.files import translated_errors
from rducodec.interop.source import SourceSet, make_source
from rducodec.interop.space import space_fields, space_of_json

SAMPLE_KEYS = ("samples", "images", "x")
LABEL_KEYS = ("labels", "y")
SPACE_KEY = "space"  # JSON text, as the writers below leave it
_SAFETENSORS_TYPES = {
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "BOOL": "?",
}

# What numpy, torch and their parts raise for damaged archives.
_DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    EOFError,
    SyntaxError,
    MemoryError,
    AssertionError,
    OSError,
    struct.error,
    pickle.PickleError,
    zipfile.BadZipFile,
    zlib.error,
)


def optional_module(name: str, what: str) -> Any:
    """A package that not everyone has. Raises RddVersionError with the way to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise RddVersionError(f"{what} needs the package {name}, which is not installed: pip install {name}") from error


def _one_of(keys: Iterable[str], names: Sequence[str], path: Path) -> str:
    present = set(keys)
    found = [name for name in names if name in present]
    if len(found) != 1:
        here = ", ".join(repr(str(key)) for key in sorted(present, key=str)[:8]) or "nothing"
        problem = " and ".join(found) if found else "none"
        raise RddInputError(f"{path}: one of {', '.join(names)} expected, found {problem}; the file has {here}")
    return found[0]


def _source(path: Path, arrays: Mapping[str, Any], space_json: str | None, options: dict[str, Any]) -> SourceSet:
    """The source of named arrays; a space given by the caller comes before that of the file."""
    samples = arrays[_one_of(arrays, SAMPLE_KEYS, path)]
    labels = arrays[_one_of(arrays, LABEL_KEYS, path)]
    if options["space"] is None and space_json is not None:
        options = options | {"space": space_of_json(space_json)}
    try:
        return make_source(samples, labels, **options)
    except RddInputError as error:
        raise RddInputError(f"{path}: {error}") from error


def read_npz(path: Path, **options: Any) -> SourceSet:
    """Samples and labels of a numpy archive; pickled objects are refused. Options of `make_source`."""
    with translated_errors(path):
        data = path.read_bytes()
    try:
        archive = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise RddInputError(f"{path}: a single array, not an archive of samples and labels")
        with archive:
            names = (_one_of(archive, SAMPLE_KEYS, path), _one_of(archive, LABEL_KEYS, path))
            arrays = {name: archive[name] for name in names}
            space = archive.get(SPACE_KEY)
    except RddInputError:
        raise
    except _DAMAGED as error:
        raise RddInputError(f"{path}: cannot be read as an .npz file: {error}") from error
    return _source(path, arrays, None if space is None else str(space), options)


def read_pt(path: Path, **options: Any) -> SourceSet:
    """Samples and labels of a torch file that holds a dict of plain tensors. Options of `make_source`."""
    torch = optional_module("torch", "reading .pt files")
    with translated_errors(path):
        data = path.read_bytes()
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RddInputError(f"{path}: not a torch file of plain tensors: {reason}") from error
    if not isinstance(content, dict):
        raise RddInputError(f"{path}: holds a {type(content).__name__}, a dict with samples and labels expected")
    space = content.get(SPACE_KEY)
    return _source(path, content, space if isinstance(space, str) else None, options)


def read_safetensors(path: Path, **options: Any) -> SourceSet:
    """Samples and labels of a safetensors file. Options of `make_source`."""
    safetensors = optional_module("safetensors", "reading .safetensors files")
    with translated_errors(path):
        data = path.read_bytes()
    try:
        tensors = dict(safetensors.deserialize(data))
        header_bytes = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + header_bytes]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError) as error:
        raise RddInputError(f"{path}: cannot be read as a .safetensors file: {error}") from error
    wanted = (_one_of(tensors, SAMPLE_KEYS, path), _one_of(tensors, LABEL_KEYS, path))
    arrays = {name: _safetensors_array(path, name, tensors[name]) for name in wanted}
    return _source(path, arrays, metadata.get(SPACE_KEY), options)


def _safetensors_array(path: Path, name: str, tensor: dict[str, Any]) -> np.ndarray:
    data, shape = bytes(tensor["data"]), tuple(tensor["shape"])
    if tensor["dtype"] == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if tensor["dtype"] not in _SAFETENSORS_TYPES:
        raise RddInputError(f"{path}: {name} has elements of type {tensor['dtype']}, which is not supported")
    return np.frombuffer(data, _SAFETENSORS_TYPES[tensor["dtype"]]).reshape(shape)


def _write_npz(stream: BinaryIO, samples: np.ndarray, labels: np.ndarray, space: str) -> None:
    np.savez(stream, samples=samples, labels=labels, space=np.array(space))


def _write_pt(stream: BinaryIO, samples: np.ndarray, labels: np.ndarray, space: str) -> None:
    torch = optional_module("torch", "writing .pt files")
    content = {"samples": torch.from_numpy(samples), "labels": torch.from_numpy(labels), SPACE_KEY: space}
    torch.save(content, stream)


def _write_safetensors(stream: BinaryIO, samples: np.ndarray, labels: np.ndarray, space: str) -> None:
    save = optional_module("safetensors.numpy", "writing .safetensors files").save
    stream.write(save({"samples": samples, "labels": labels}, metadata={SPACE_KEY: space}))


_WRITERS: dict[str, tuple[str | None, Callable[[BinaryIO, np.ndarray, np.ndarray, str], None]]] = {
    ".npz": (None, _write_npz),
    ".pt": ("torch", _write_pt),
    ".safetensors": ("safetensors", _write_safetensors),
}
SUFFIXES = tuple(_WRITERS)


def check_writable(suffix: str) -> None:
    """Raises RddVersionError where the package that writes files of this suffix is missing."""
    package = _WRITERS[suffix][0]
    if package is not None:
        optional_module(package, f"writing {suffix} files")


def write_tensors(
    stream: BinaryIO, suffix: str, samples: np.ndarray, labels: np.ndarray, space: ValueSpace | None
) -> None:
    """A file with `samples` (float32), `labels` (int64) and `space` (JSON text), of the kind that `suffix` says."""
    _WRITERS[suffix][1](stream, samples, np.ascontiguousarray(labels), json.dumps(space_fields(space)))
