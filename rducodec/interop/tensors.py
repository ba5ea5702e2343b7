"""Files of tensors with samples and labels under well-known names: .npz, .pt, .safetensors, read and written."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError, RddVersionError
from rducodec.files import translated_errors
from rducodec.interop.pickles import StoredTensor, open_torch_file, told
from rducodec.interop.source import SourceSet, check_expanded, make_source, naming
from rducodec.interop.space import space_fields, space_of_json

SAMPLE_KEYS = ("samples", "images", "x")
LABEL_KEYS = ("labels", "y")
SOFT_KEY = "soft_labels"  # probabilities beside integer labels
SPACE_KEY = "space"  # JSON text, as the writers below leave it
_SAFETENSORS_TYPES = {
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    "BOOL": "?",
}

_NPY_MAGIC = b"\x93NUMPY"
# What numpy and its parts raise for damaged archives.
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
    zipfile.BadZipFile,
    zlib.error,
)


def optional_module(name: str, what: str) -> Any:
    """A package that not everyone has. Raises RddVersionError with the way to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise RddVersionError(f"{what} needs the package {name}, which is not installed: pip install {name}") from error


def _one_of(keys: Iterable[Any], names: Sequence[str]) -> str:
    present = set(keys)
    found = [name for name in names if name in present]
    if len(found) != 1:
        here = ", ".join(repr(str(key)[:40]) for key in sorted(present, key=str)[:8]) or "nothing"
        problem = " and ".join(found) if found else "none"
        raise RddInputError(f"one of {', '.join(names)} expected, found {problem}; the file has {here}")
    return found[0]


def _wanted(keys: Iterable[Any]) -> tuple[str, str]:
    """The names of samples and labels among those of a file."""
    keys = list(keys)
    return _one_of(keys, SAMPLE_KEYS), _one_of(keys, LABEL_KEYS)


def _source(samples: Any, labels: Any, space_json: str | None, options: dict[str, Any]) -> SourceSet:
    """The source of arrays; a space given by the caller comes before that of the file."""
    if options.get("space") is None and space_json is not None:
        options = options | {"space": space_of_json(space_json)}
    return make_source(samples, labels, **options)


@contextmanager
def open_npz(path: Path, *, advice: str = "") -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a numpy archive, each read when it is asked for; pickled objects are refused.

    Raises RddIOError, and RddInputError, naming the file, for what is damaged or no archive; `advice` follows there.
    """
    with translated_errors(path):
        data = path.read_bytes()
    with naming(path):
        try:
            if not (zipfile.is_zipfile(io.BytesIO(data)) or data.startswith(_NPY_MAGIC)):
                # numpy would advise to unpickle it
                raise RddInputError("; ".join(filter(None, ("not an .npz file, or damaged", advice))))
            archive = np.load(io.BytesIO(data), allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise RddInputError("a single array, not an archive of samples and labels")
            with archive:
                check_expanded(sum(entry.file_size for entry in archive.zip.infolist()))
                yield archive
        except RddInputError:
            raise
        except _DAMAGED as error:
            reason = "holds Python objects, not numbers" if "allow_pickle" in str(error) else error
            raise RddInputError(f"cannot be read as an .npz file: {reason}") from error


def read_npz(path: Path, **options: Any) -> SourceSet:
    """Samples and labels of a numpy archive; pickled objects are refused. Options of `make_source`."""
    with open_npz(path) as archive:
        samples, labels = (archive[name] for name in _wanted(archive))
        space, soft = archive.get(SPACE_KEY), archive.get(SOFT_KEY)
    with naming(path):
        return _source(samples, labels, None if space is None else str(space), options | {SOFT_KEY: soft})


def plain(value: Any) -> Any:
    """A tensor of a torch file as an array; anything else as it is."""
    return value.array() if isinstance(value, StoredTensor) else value


def read_pt(path: Path, **options: Any) -> SourceSet:
    """Samples and labels of a torch file that holds a dict of tensors, without torch. Options of `make_source`."""
    with open_torch_file(path) as content:
        if not isinstance(content, dict):
            raise RddInputError(f"holds {told(content)}, a dict with samples and labels expected")
        samples, labels = (plain(content[name]) for name in _wanted(content))
        space = content.get(SPACE_KEY)
        options = options | {SOFT_KEY: plain(content.get(SOFT_KEY))}
        return _source(samples, labels, space if isinstance(space, str) else None, options)


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
    with naming(path):
        samples, labels = (_safetensors_array(name, tensors[name]) for name in _wanted(tensors))
        soft = _safetensors_array(SOFT_KEY, tensors[SOFT_KEY]) if SOFT_KEY in tensors else None
        return _source(samples, labels, metadata.get(SPACE_KEY), options | {SOFT_KEY: soft})


def _safetensors_array(name: str, tensor: dict[str, Any]) -> np.ndarray:
    data, shape = bytes(tensor["data"]), tuple(tensor["shape"])
    if tensor["dtype"] == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if tensor["dtype"] not in _SAFETENSORS_TYPES:
        raise RddInputError(f"{name} has elements of type {tensor['dtype']}, which is not supported")
    return np.frombuffer(data, _SAFETENSORS_TYPES[tensor["dtype"]]).reshape(shape)


def _write_npz(stream: BinaryIO, arrays: dict[str, np.ndarray], space: str) -> None:
    np.savez(stream, **arrays, space=np.array(space))  # type: ignore[arg-type] # a name may be that of an option


def _write_pt(stream: BinaryIO, arrays: dict[str, np.ndarray], space: str) -> None:
    torch = optional_module("torch", "writing .pt files")
    content = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(content | {SPACE_KEY: space}, stream)


def _write_safetensors(stream: BinaryIO, arrays: dict[str, np.ndarray], space: str) -> None:
    save = optional_module("safetensors.numpy", "writing .safetensors files").save
    stream.write(save(arrays, metadata={SPACE_KEY: space}))


_WRITERS: dict[str, tuple[str | None, Callable[[BinaryIO, dict[str, np.ndarray], str], None]]] = {
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
    stream: BinaryIO,
    suffix: str,
    samples: np.ndarray,
    labels: np.ndarray,
    space: ValueSpace | None,
    soft_labels: np.ndarray | None = None,
) -> None:
    """A file with `samples` (float32), `labels` (int64) and `space` (JSON text), of the kind that `suffix` says.

    `soft_labels` (float32), where there are any, stand beside them.
    """
    arrays = {"samples": samples, "labels": np.ascontiguousarray(labels)}
    if soft_labels is not None:
        arrays[SOFT_KEY] = np.ascontiguousarray(soft_labels)
    _WRITERS[suffix][1](stream, arrays, json.dumps(space_fields(space)))
