"""Rows of a table, and the document that they become."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rducodec
from rducodec.errors import RddInputError
from rducodec.training.data import DataSplit, LabelledImages, fit_space, pixel_space
from rducodec.training.evaluation import evaluator as evaluator_module
from rducodec.training.evaluation.accuracy import Accuracy
from rducodec.training.evaluation.baselines import Capacity, fill, random_order
from rducodec.training.evaluation.evaluate import EvaluationProgress, evaluate
from rducodec.training.evaluation.evaluator import Evaluator, evaluate_files
from rducodec.training.evaluation.result import data_fields, document_bytes, fingerprint, result_document
from rducodec.training.evaluation.stores import PictureSheets, PlainPixels, png
from tests.training.evaluation.small import QUICK, bars, real

DATA = DataSplit("bars", bars(120), bars(30, seed=1))
EVALUATOR = Evaluator(DATA, torch.device("cpu"), num_networks=2)
SHORT = replace(QUICK, epochs=3)


def raw_file(folder: Path, data: LabelledImages) -> Path:
    path, order = folder / "bars.rdd", np.argsort(data.labels, kind="stable")
    labels = rducodec.Labels(np.bincount(data.labels))
    config = rducodec.RawConfig(False, 8, 255)
    path.write_bytes(rducodec.pack_raw(data.images[order], labels, config, space=rducodec.ValueSpace()))
    return path


def test_files_are_tested_as_their_samples_are(tmp_path: Path) -> None:
    path = raw_file(tmp_path, bars(12))
    rows = evaluate_files([path], EVALUATOR, [SHORT, QUICK])
    dataset = rducodec.read(path)
    assert [row.protocol for row in rows] == [SHORT, QUICK]
    for row in rows:
        samples, labels = dataset.samples(), dataset.labels
        assert row.accuracy == evaluate(samples, labels, real(bars(30, seed=1)), row.protocol, num_networks=2)
        assert row.bytes_per_class == path.stat().st_size / 3
        assert row.num_samples == 12


def test_rivals_are_chosen_and_tested() -> None:
    space = pixel_space(1)
    told: list[float] = []
    rivals = EVALUATOR.rivals(400, SHORT, space=space, progress=told.append)
    assert sum(told) == pytest.approx(1)
    assert len(rivals) == 3
    for baseline, compared in rivals[1:]:
        assert max(compared, key=lambda pair: pair[1])[1] == dict(compared)[baseline.name]
        assert len(compared) == 4
    row = EVALUATOR.of_rival(rivals[1], SHORT, space=space)
    assert row.name.startswith("real images, JPEG quality")
    assert row.bytes_per_class is not None
    assert row.bytes_per_class <= 400
    assert "of the bytes are headers" in row.remarks[0]
    assert [entry["name"] for entry in row.fields()["compared"]] == [name for name, _ in rivals[1][1]]


def test_the_same_images_are_trained_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []

    def counted(samples: Any, *arguments: Any, **keywords: Any) -> Accuracy:
        trained.append(samples)
        return evaluate(samples, *arguments, **keywords)

    monkeypatch.setattr(evaluator_module, "evaluate", counted)
    space, images, order = pixel_space(1), DATA.train.images, random_order(DATA.train, 0)
    plain, more = (fill(PlainPixels(images), order, size) for size in (3 * 64, 4 * 64))
    sheets = fill(PictureSheets(images, png()), order, 3 * 64 * 4)
    assert plain is not None
    assert more is not None
    assert sheets is not None
    same = replace(sheets, samples=plain.samples, labels=plain.labels)
    evaluator = Evaluator(DATA, torch.device("cpu"), num_networks=2)
    told: list[EvaluationProgress] = []
    rows = [evaluator.of_rival((each, ()), SHORT, space=space) for each in (plain, more)]
    rows.append(evaluator.of_rival((same, ()), SHORT, space=space, progress=told.append))
    assert len(trained) == 2
    assert rows[2].name == f"real images, {sheets.name}"
    assert rows[2].accuracy == rows[0].accuracy
    assert rows[2].remarks[-1] == "the same images as real images, 8-bit pixels: evaluated once"
    assert [(state.step, state.total_steps, state.accuracies) for state in told] == [
        (2 * 3, 2 * 3, rows[0].accuracy.per_network)
    ]
    assert not any("evaluated once" in remark for row in rows[:2] for remark in row.remarks)
    evaluator.of_rival((plain, ()), replace(SHORT, epochs=1), space=space)  # another protocol is another training
    evaluator.of_rival((plain, ()), SHORT, space=fit_space("standardised", DATA.train))
    assert len(trained) == 4


def test_all_real_images() -> None:
    row = EVALUATOR.of_all_real_images(SHORT, space=pixel_space(1))
    assert row.num_samples == 120
    assert row.protocol.epochs == SHORT.full_epochs
    assert row.bytes_per_class is None


def test_document(tmp_path: Path) -> None:
    path = raw_file(tmp_path, bars(12))
    rows = evaluate_files([path], EVALUATOR, [SHORT])
    capacities = {80.5: (Capacity("PNG", 2, 80.0), Capacity("JPEG", 0, 0.0))}
    document = result_document(
        rows, data_fields(DATA), device=torch.device("cpu"), mixed_precision=False, capacities=capacities
    )
    found = json.loads(document_bytes(document))
    assert (found["schema"], found["schema_version"]) == ("rdd-eval", 1)
    assert found["data"] == {
        "name": "bars",
        "fingerprint": fingerprint(DATA),
        "shape": [1, 8, 8],
        "num_classes": 3,
        "num_train": 120,
        "num_test": 30,
    }
    assert found["real_image_stores"] == [
        {
            "bytes_per_class": 80.5,
            "stores": [
                {"name": "PNG", "num_per_class": 2, "bytes_per_class": 80.0},
                {"name": "JPEG", "num_per_class": 0, "bytes_per_class": 0.0},
            ],
        }
    ]
    row = found["rows"][0]
    assert row["file"] == {
        "num_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "sample_digest": rducodec.read(path).sample_digest.hex(),
    }
    assert (row["kind"], row["space"], row["num_steps"]) == ("file", {"kind": "pixels"}, 3)
    assert row["accuracies"] == list(rows[0].accuracy.per_network)
    assert row["mean"] == pytest.approx(sum(row["accuracies"]) / 2)
    assert row["protocol"]["network_options"] == {"width": 8, "depth": 2}
    assert set(found["versions"]) == {"python", "rducodec", "torch", "numpy", "pillow"}


def test_fingerprint_depends_on_all_that_matters() -> None:
    train, test = DATA.train, DATA.test
    assert test is not None
    pixel, label = train.images.copy(), test.labels.copy()
    pixel[7, 0, 3, 3] ^= 1
    label[5] = (label[5] + 1) % 3
    others = [
        DataSplit("bars", replace(train, images=pixel), test),
        DataSplit("bars", train, replace(test, labels=label)),
        DataSplit("bars", train, replace(test, class_names=("a", "b", "c"))),
        DataSplit("bars", train),
        DataSplit("bars", test, train),
    ]
    found = {fingerprint(each) for each in [DATA, *others]}
    assert len(found) == 6
    assert fingerprint(replace(DATA, name="other")) == fingerprint(DATA)
    assert len(fingerprint(DATA)) == 64


def test_data_without_test_images() -> None:
    with pytest.raises(RddInputError, match="bars: it has no test images"):
        replace(EVALUATOR, data=DataSplit("bars", bars(12)))
