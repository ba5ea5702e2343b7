"""Files against the data that they are tested on: shapes, classes, value spaces."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rducodec
from rducodec import RddInputError, Texts, ValueSpace
from rducodec.training.data import LabelledImages, fit_space, save_zca
from rducodec.training.evaluation.files import SampleFile, check_fits, labels_in, open_file, prepare, space_of
from tests.training.evaluation.small import bars

DATA = bars(30)
VALUES = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)


def sample_file(
    folder: Path, *, counts: tuple[int, ...] = (1, 2, 3), soft: rducodec.SoftLabels | None = None, **fields: Any
) -> SampleFile:
    path = folder / "a.rdd"
    labels = rducodec.Labels(np.array(counts), soft=soft)
    path.write_bytes(rducodec.pack_raw(VALUES, labels, rducodec.RawConfig(True, 32), **fields))
    return open_file(path)


def test_an_open_file(tmp_path: Path) -> None:
    file = sample_file(tmp_path)
    data = (tmp_path / "a.rdd").read_bytes()
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.bytes_per_class == len(data) / 3


def test_shapes_and_classes_must_fit(tmp_path: Path) -> None:
    check_fits(sample_file(tmp_path), DATA)
    with pytest.raises(RddInputError, match=r"samples of 1 x 8 x 8 .* images of the data are 3 x 8 x 8"):
        check_fits(sample_file(tmp_path), bars(3, shape=(3, 8, 8)))
    with pytest.raises(RddInputError, match="2 classes, but the data has 3"):
        check_fits(sample_file(tmp_path, counts=(3, 3)), DATA)


@pytest.mark.parametrize(
    ("names", "expected", "remark"),
    [
        ((), [0, 1, 1, 2, 2, 2], ""),
        (("top", "middle", "bottom"), [0, 1, 1, 2, 2, 2], ""),
        (("bottom", "top", "middle"), [2, 0, 0, 1, 1, 1], "matched by name"),
        (("top", "centre", "bottom"), [0, 1, 1, 2, 2, 2], "class 1 is 'centre' in the file and 'middle' in the data"),
    ],
)
def test_names_of_classes(tmp_path: Path, names: tuple[str, ...], expected: list[int], remark: str) -> None:
    labels, remarks = labels_in(sample_file(tmp_path, texts=Texts(class_names=names)), DATA)
    assert labels.tolist() == expected
    assert remark in " ".join(remarks)
    assert bool(remarks) == bool(remark)


def test_soft_labels_follow_the_names(tmp_path: Path) -> None:
    soft = rducodec.SoftLabels(
        4, np.array([[4, 0, 0], [0, 3, 1], [1, 2, 1], [0, 0, 4], [0, 1, 3], [0, 2, 2]], np.int32)
    )
    labels, _ = labels_in(sample_file(tmp_path, soft=soft), DATA)
    assert np.array_equal(labels, soft.counts / 4)
    labels, remarks = labels_in(
        sample_file(tmp_path, soft=soft, texts=Texts(class_names=("bottom", "top", "middle"))), DATA
    )
    columns = [("bottom", "top", "middle").index(name) for name in DATA.class_names]
    assert np.array_equal(labels, soft.counts[:, columns] / 4)
    assert len(remarks) == 2


def test_spaces_of_headers(tmp_path: Path) -> None:
    pixels = torch.from_numpy(DATA.pixels())
    space = space_of(sample_file(tmp_path, space=ValueSpace()), DATA)
    assert torch.equal(space.forward(pixels), pixels)
    space = space_of(sample_file(tmp_path, space=ValueSpace("standardised", (0.5,), (0.25,))), DATA)
    torch.testing.assert_close(space.forward(pixels), (pixels - 0.5) / 0.25)
    assert space.space == ValueSpace("standardised", (0.5,), (0.25,))


@pytest.mark.parametrize("spec", ["zca", "zca:mean=0.5,std=0.25"])
def test_whitening_is_fitted_again(tmp_path: Path, spec: str) -> None:
    fitted = fit_space(spec, DATA)
    file = sample_file(tmp_path, space=fitted.space)
    pixels = torch.from_numpy(DATA.pixels())
    for found in (space_of(file, DATA), space_of(file, DATA, spec=spec)):
        torch.testing.assert_close(found.forward(pixels), fitted.forward(pixels))
    with pytest.raises(RddInputError, match="take the data that the file was made from"):
        space_of(file, bars(30, seed=1))
    with pytest.raises(RddInputError, match="these training images give"):
        space_of(file, DATA, spec="zca:mean=0.4,std=0.2")


def test_whitening_of_a_file_of_constants(tmp_path: Path) -> None:
    fitted = fit_space("zca", DATA)
    save_zca(fitted, tmp_path / "space.safetensors")
    file = sample_file(tmp_path, space=fitted.space)
    found = space_of(file, bars(30, seed=1), zca_file=tmp_path / "space.safetensors")
    assert found.space == fitted.space


def test_a_space_that_only_the_user_knows(tmp_path: Path) -> None:
    for space in (None, ValueSpace("other", text="logarithms")):
        file = sample_file(tmp_path, space=space)
        with pytest.raises(RddInputError, match="say how test images come there"):
            space_of(file, DATA)
        assert space_of(file, DATA, spec="pixels").space == ValueSpace()
    with pytest.raises(RddInputError, match="space: the file has pixels"):
        space_of(sample_file(tmp_path, space=ValueSpace()), DATA, spec="standardised")


def test_data_without_names(tmp_path: Path) -> None:
    data = LabelledImages(DATA.images, DATA.labels, ("0", "1", "2"))
    labels, remarks = labels_in(sample_file(tmp_path), data)
    assert labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert remarks == ()


def test_a_prepared_file(tmp_path: Path) -> None:
    names = ("bottom", "top", "middle")
    file = sample_file(tmp_path, texts=Texts(class_names=names), space=ValueSpace())
    told: list[float] = []
    prepared = prepare(file, DATA, progress=told.append)
    assert np.array_equal(prepared.samples, VALUES)
    assert prepared.labels.tolist() == [2, 0, 0, 1, 1, 1]
    assert prepared.space.space == ValueSpace()
    assert len(prepared.remarks) == 1
    assert sum(told) == 6
    with pytest.raises(RddInputError, match="channels"):
        prepare(file, bars(3, shape=(3, 8, 8)))
