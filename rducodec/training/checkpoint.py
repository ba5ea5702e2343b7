"""Training states on disk: tensors and a JSON text in one safetensors file, no pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rducodec.errors import RddInputError, RddIOError
from rducodec.files import write_file

_KEY = "rducodec"  # of the JSON text in the file's metadata
_REMEDY = "remove it to begin that part again, or choose another folder"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path`; an interrupted write leaves the old one."""
    own = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_file(path, save(own, metadata={_KEY: json.dumps(dict(fields))}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and fields of a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if text is None:
            raise RddInputError(f"checkpoint {path}: not written by rducodec; {_REMEDY}")
        return tensors, json.loads(text)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise RddInputError(f"checkpoint {path}: damaged ({error}); {_REMEDY}") from error
    except OSError as error:
        raise RddIOError(f"checkpoint {path}: {error}") from error


@contextmanager
def restored_from(path: Path) -> Iterator[None]:
    """Translate what goes wrong where a state lacks something or holds more, as that of another version does."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise RddInputError(
            f"checkpoint {path}: not as this version writes it ({error}); remove it, or choose another folder"
        ) from error
