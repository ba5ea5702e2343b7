"""The demo from digits to files, picture and numbers, with a training too short to be good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rducodec

pytest.importorskip("torch")


def test_run_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rducodec.demo import chain

    monkeypatch.setattr(chain, "PER_CLASS", 5)
    monkeypatch.setattr(chain, "STEPS", 10)
    said: list[str] = []
    outcome = chain.run_demo(tmp_path, say=said.append)
    dataset = rducodec.read(outcome.file)
    assert dataset.samples().shape == (50, 1, 8, 8)
    assert np.bincount(dataset.labels).tolist() == [5] * 10
    lossless = rducodec.read(outcome.raw_file).stored_samples()
    assert lossless.max() <= chain.LEVELS
    assert outcome.rate.file_bits == 8 * outcome.file.stat().st_size
    assert outcome.picture.read_bytes().startswith(b"\x89PNG")
    sizes = [row.bytes_per_class for row in outcome.rows]
    assert sizes == [5 * 64 * 4, outcome.raw_file.stat().st_size / 10, outcome.file.stat().st_size / 10]
    assert len(said) == 4
