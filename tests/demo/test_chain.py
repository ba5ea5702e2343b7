"""The demo from digits to files, pictures and numbers, with trainings too short to be good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rducodec

pytest.importorskip("torch")


def test_run_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rducodec.demo import chain
    from rducodec.training.distillation import Configuration, Reports, read_configuration

    def short(name: str, changes: list[str]) -> Configuration:
        tiny = ["samples.decoder=4", "samples.entropy=8x0", "initial.steps=10"]
        tiny += ["joint.iterations=3", "utility.options.real_batch=8", "export.thresholds=[1e-2]"]
        return read_configuration(name, [*changes, *tiny])

    monkeypatch.setattr(chain, "read_configuration", short)
    monkeypatch.setattr(chain, "PROTOCOL", chain.PROTOCOL.with_values({"epochs": 1, "full_epochs": 1}))
    monkeypatch.setattr(chain, "BUDGETS", {0.2: 5, 0.25: 5})
    said: list[str] = []
    outcome = chain.run_demo(tmp_path, reports=Reports(say=said.append))
    assert outcome.file == tmp_path / "digits.rdd"
    dataset = rducodec.read(outcome.file)
    assert dataset.samples().shape == (50, 1, 8, 8)
    assert np.bincount(dataset.labels).tolist() == [5] * 10
    assert outcome.rate.file_bits == 8 * outcome.file.stat().st_size <= 8 * 10 * 0.2 * 1024
    for picture in (outcome.samples, outcome.plot):
        assert picture.read_bytes().startswith(b"\x89PNG")
    names = [Path(row.name).name for row in outcome.rows if row.kind == "file"]
    kinds = ("distilled", "overfitted", "pixels")
    assert names == [f"{kind}-{budget}kB.rdd" for budget in (0.2, 0.25) for kind in kinds]
    assert all(row.bytes_per_class is None or row.bytes_per_class <= 256 for row in outcome.rows)
    lossless = rducodec.read(tmp_path / "digits-lossless.rdd")
    assert lossless.stored_samples().max() == chain.LEVELS
    assert len(lossless.labels) == 1240
    assert any("verifying" in line for line in said)
