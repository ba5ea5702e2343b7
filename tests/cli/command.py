"""Calling `rdd` in tests, and small files to call it on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

import rducodec
from rducodec_cli.main import rdd
from spec.make_vectors import counts, latent_file, tiny_config

SEPARATE_STREAMS = (8, 2)  # from this version of click on, the only way


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: object) -> Outcome:
    """`rdd` with these arguments."""
    version = tuple(int(part) for part in metadata.version("click").split(".")[:2])
    options: dict[str, Any] = {} if version >= SEPARATE_STREAMS else {"mix_stderr": False}
    runner = CliRunner(**options)
    result = runner.invoke(rdd, [str(argument) for argument in arguments])
    return Outcome(result.exit_code, result.stdout, result.stderr)


def refused(code: int, *arguments: object) -> str:
    """The line that a failing command prints, without its `error: `; nothing else is printed."""
    outcome = run(*arguments)
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("\n")
    return outcome.err.removeprefix("error: ").rstrip("\n")


def latent(folder: Path, **fields: Any) -> Path:
    """Five samples of 1 x 4 x 4 in classes of 2, 0 and 3."""
    path = folder / "latent.rdd"
    path.write_bytes(latent_file(tiny_config(), [2, 2, 1], counts(2, 0, 3), 7, **fields))
    return path


def pixels(folder: Path, *, channels: int = 3, **fields: Any) -> tuple[Path, np.ndarray]:
    """Five 8-bit images in classes of 2, 0 and 3, and the file that holds them."""
    samples = np.random.default_rng(3).integers(0, 256, (5, channels, 6, 4)).astype(np.uint8)
    path = folder / "pixels.rdd"
    space = {"space": rducodec.ValueSpace()} | fields
    path.write_bytes(rducodec.pack_raw(samples, counts(2, 0, 3), rducodec.RawConfig(False, 8, 255), **space))
    return path, samples
