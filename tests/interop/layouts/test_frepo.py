from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rducodec.errors import RddInputError
from rducodec.interop import read_source
from rducodec.interop.layouts.frepo import SPACE
from tests.cli.command import refused
from tests.interop.layouts.common import CIFAR10, LABELS, SAMPLES, check_file

LEARNED = (np.eye(3)[LABELS] - 1 / 3 + np.random.default_rng(3).normal(0, 0.05, (6, 3))).astype(np.float32)


def archive(path: Path, samples: np.ndarray = SAMPLES, labels: np.ndarray = LEARNED) -> Path:
    np.savez(path, image=np.moveaxis(samples, 1, -1), label=labels)
    return path


def test_file(tmp_path):
    path = archive(tmp_path / "step000100.npz")
    check_file(path, "--hard-labels", space=SPACE)
    assert read_source(path, hard_labels=True).layout == "frepo"
    assert read_source(path, hard_labels=True, space=CIFAR10).space == CIFAR10


def test_learned_labels_are_not_lost_silently(tmp_path):
    message = refused(7, "encode", archive(tmp_path / "a.npz"), tmp_path / "a.rdd", "--profile", "raw")
    assert "no probability" in message
    assert "--hard-labels" in message


def test_space_of_grey_images_is_asked_for(tmp_path):
    path = archive(tmp_path / "a.npz", SAMPLES[:, :1])
    with pytest.raises(RddInputError, match=r"a\.npz: space: .*without colours"):
        read_source(path, hard_labels=True)


def test_shape_that_is_none(tmp_path):
    np.savez(tmp_path / "a.npz", image=SAMPLES[0], label=LEARNED)
    with pytest.raises(RddInputError, match=r"a\.npz: image: shape \(3, 4, 4\)"):
        read_source(tmp_path / "a.npz", hard_labels=True)


def test_content_that_is_another(tmp_path):
    np.savez(tmp_path / "a.npz", x=SAMPLES, y=LABELS)
    with pytest.raises(RddInputError, match=r"a\.npz: arrays 'image' and 'label' expected, found x, y"):
        read_source(tmp_path / "a.npz", layout="frepo")
