"""States on disk that are damaged or of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rducodec.errors import RddInputError
from rducodec.training.checkpoint import read_checkpoint, write_checkpoint

REMEDY = "remove it to begin that part again, or choose another folder"


@pytest.mark.parametrize("length", [0, 5, 20, -1])
def test_a_truncated_checkpoint_says_what_to_do(tmp_path: Path, length: int) -> None:
    path = tmp_path / "joint.safetensors"
    write_checkpoint(path, {"x": torch.arange(9.0)}, {"iteration": 3})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RddInputError, match=rf"joint\.safetensors: damaged \(.*\); {REMEDY}"):
        read_checkpoint(path)


def test_a_file_of_another_program_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(RddInputError, match=f"not written by rducodec; {REMEDY}"):
        read_checkpoint(path)
