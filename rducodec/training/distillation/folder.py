"""The folder of a run: which files it holds, and whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rducodec.errors import RddInputError
from rducodec.files import translated_errors, write_file
from rducodec.training.distillation.configuration import Configuration, configuration_of

DISTILLED, OVERFITTED = "distilled.rdd", "overfitted.rdd"
INITIAL_CHECKPOINT, JOINT_CHECKPOINT = "initial.safetensors", "joint.safetensors"
# How often a run tells, and what comes after it: a finished one can be stored or tested in another way.
_NOT_DECIDING = {
    *("description", "evaluation", "experts"),
    *("joint.checkpoint_interval", "joint.report_interval", "export.number"),
}
RUN_FILE, LOG_FILE = "run.json", "log.csv"


def deciding(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of a configuration that the state of a run follows from."""
    return {
        table: {key: value for key, value in values.items() if f"{table}.{key}" not in _NOT_DECIDING}
        if isinstance(values, Mapping)
        else values
        for table, values in fields.items()
        if table not in _NOT_DECIDING
    }


def note_run(folder: Path, fingerprint: str, configuration: Configuration, *, data: str) -> None:
    """Make the folder and write down which run is here. Raises RddInputError where it is another one."""
    file = folder / RUN_FILE
    with translated_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    others = [
        name for name in (DISTILLED, OVERFITTED, INITIAL_CHECKPOINT, JOINT_CHECKPOINT) if (folder / name).exists()
    ]
    if others and not file.exists():
        raise RddInputError(f"{folder}: holds {others[0]}, but no {RUN_FILE} says of which run; choose another folder")
    notes = {"fingerprint": fingerprint, "data": data, "configuration": configuration.fields()}
    text = json.dumps(notes, indent=1, default=str)
    if others and (found := _read(file)).get("fingerprint") != fingerprint:
        known = found.get("configuration")
        here = deciding(known) if isinstance(known, dict) else known
        names = ", ".join(_differing(here, deciding(json.loads(text)["configuration"])))
        raise RddInputError(
            f"{folder}: holds a run of {f'another configuration (different: {names})' if names else 'other data'}, or "
            "of another version; choose another folder or remove this one"
        )
    write_file(file, text.encode())


def configuration_of_run(folder: Path) -> Configuration | None:
    """Of the run in a folder; None where there is none. Raises RddInputError where what says it is damaged."""
    file = folder / RUN_FILE
    if not file.is_file():
        return None
    try:
        return configuration_of(_read(file)["configuration"])
    except (RddInputError, KeyError, TypeError, AttributeError) as error:
        raise RddInputError(f"{file}: of another version, or damaged ({error})") from error


def _differing(found: object, own: object, name: str = "") -> list[str]:
    """Keys, with dots, at which two configurations hold different values."""
    if not (isinstance(found, dict) and isinstance(own, dict)):
        return [] if found == own else [name or "everything"]
    keys = sorted(found.keys() | own.keys())
    inner = [_differing(found.get(key), own.get(key), f"{name}.{key}".removeprefix(".")) for key in keys]
    return [each for names in inner for each in names]


def _read(path: Path) -> dict[str, Any]:
    with translated_errors(path):
        data = path.read_bytes()
    try:
        fields = json.loads(data)
    except ValueError as error:  # of JSON or of UTF-8
        raise RddInputError(f"{path}: damaged ({error}); choose another folder or remove this one") from error
    return fields if isinstance(fields, dict) else {}
