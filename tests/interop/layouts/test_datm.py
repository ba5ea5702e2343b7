from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rducodec.errors import RddInputError
from rducodec.interop import read_source
from tests.interop.layouts.common import CIFAR10, LABELS, check_file, pair, save

SOFT = np.random.default_rng(7).normal(size=(6, 3)).astype(np.float32)
LOGITS = np.random.default_rng(6).normal(size=(6, 3)).astype(np.float32)
LOGITS[np.arange(6), LABELS] += 10


def files(folder: Path, logits: np.ndarray = LOGITS) -> Path:
    pair(folder, labels=logits)
    save(folder / "lr_best.pt", np.array(0.0125, np.float32))
    return folder


def test_file(tmp_path):
    folder = files(tmp_path / "run")
    outcome = check_file(folder, "--space", "standardised:cifar10", "--hard-labels", space=CIFAR10)
    assert "note: soft labels of 3 numbers each: only the largest one is kept" in outcome.err
    assert "--recipe lr=0.0125" in outcome.err


def test_soft_labels_are_kept(tmp_path):
    folder, logits = files(tmp_path / "run", SOFT), SOFT.astype(np.float64)
    outcome = check_file(folder, "--space", "standardised:cifar10", space=CIFAR10, labels=SOFT.argmax(axis=1))
    assert "note: soft labels of 3 numbers each: the softmax of logits over 1" in outcome.err
    with np.load(tmp_path / "decoded.npz") as arrays:
        decoded = arrays["soft_labels"]
    expected = np.array([[math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in logits])
    assert np.abs(decoded - expected).max() <= 2**-8


def test_temperature_that_is_stated(tmp_path):
    source = read_source(files(tmp_path, SOFT), space=CIFAR10, temperature=2.0)
    assert source.soft_labels is not None
    assert source.soft_labels[0, 0] / source.soft_labels[0, 1] == pytest.approx(math.exp((SOFT[0, 0] - SOFT[0, 1]) / 2))


def test_layout_and_classes(tmp_path):
    logits = np.pad(LOGITS, ((0, 0), (0, 4)), constant_values=-9)
    source = read_source(files(tmp_path, logits), space=CIFAR10, hard_labels=True)
    assert source.layout == "datm"
    assert source.num_classes == 7


def test_tie_is_named(tmp_path):
    logits = LOGITS.copy()
    logits[4, :2] = 50
    with pytest.raises(RddInputError, match=r"images_best\.pt: labels: the largest entry of label 4, 50\.0, occurs"):
        read_source(files(tmp_path, logits), space=CIFAR10, hard_labels=True)


def test_learning_rate_that_is_none(tmp_path):
    save(files(tmp_path) / "lr_best.pt", np.zeros(2, np.float32))
    with pytest.raises(RddInputError, match=r"lr_best\.pt: .*one learning rate expected"):
        read_source(tmp_path, space=CIFAR10, hard_labels=True)


def test_learning_rate_that_is_a_number(tmp_path):
    save(files(tmp_path) / "lr_best.pt", 0.5)
    assert "lr=0.5" in read_source(tmp_path, space=CIFAR10, hard_labels=True).remarks[2]


def test_without_learning_rate_by_name(tmp_path):
    pair(tmp_path)
    assert read_source(tmp_path, space=CIFAR10, layout="datm").layout == "datm"
