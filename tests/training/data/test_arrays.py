from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from rducodec.errors import RddInputError, RddIOError
from rducodec.training.data import check_enough, from_arrays, from_torch_dataset, load_data

RNG = np.random.default_rng(5)
BYTES = RNG.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0])


def test_npz_with_a_test_part(tmp_path):
    last = np.moveaxis(BYTES, 1, 3)
    path = tmp_path / "toy.npz"
    np.savez(
        path, x_train=last, y_train=LABELS[:, None], x_test=last[:2], y_test=LABELS[:2], class_names=["a", "b", "c"]
    )
    data = load_data("npz", path)
    assert data.name == "toy"
    assert np.array_equal(data.train.images, BYTES)
    assert data.train.labels.tolist() == LABELS.tolist()
    assert data.test is not None
    assert np.array_equal(data.test.images, BYTES[:2])
    assert data.train.class_names == ("a", "b", "c")


def test_npz_of_samples_and_labels(tmp_path):
    np.savez(tmp_path / "x.npz", samples=BYTES[:, 0] / 255.0, labels=LABELS.astype(np.uint8))
    data = load_data("npz", tmp_path / "x.npz")
    assert data.test is None
    assert data.train.images.dtype == np.float32
    assert np.allclose(data.train.images[:, 0], BYTES[:, 0] / 255.0)
    assert data.train.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": BYTES}, "one of x_train and y_train is there, the other is not"),
        ({"x_train": BYTES, "y_train": LABELS, "x_test": BYTES}, "x_test and y_test"),
        ({"pictures": BYTES}, "the file has pictures"),
        ({"x_train": np.array([{}]), "y_train": LABELS}, "x_train holds Python objects, .*bring all to one size"),
        ({"x_train": BYTES, "y_train": LABELS[:5]}, r"labels: shape \(5,\) for 6 images"),
        ({"x_train": BYTES, "y_train": LABELS + 0.5}, "no integers"),
        ({"x_train": BYTES[:, :2], "y_train": LABELS}, r"shape \(6, 2, 4, 5\), expected"),
        ({"x_train": BYTES.astype(np.int64), "y_train": LABELS}, "int64; give uint8"),
        ({"x_train": BYTES.astype(np.float32), "y_train": LABELS}, r"has the value .*, \[0, 1\] expected; divide"),
        ({"x_train": BYTES / 255.0 - 0.5, "y_train": LABELS}, "leave out the standardisation"),
        ({"x_train": BYTES, "y_train": LABELS - 1}, r"label 0 is -1, expected 0\.\."),
        (
            {"x_train": BYTES, "y_train": LABELS * 2},
            r"label 2 is 4, the largest, so .*class 1 has no training image \(and 1 more have none\)",
        ),
        ({"x_train": BYTES, "y_train": LABELS, "x_test": BYTES, "y_test": LABELS + 1}, r"test labels: label 2 is 3"),
        ({"x_train": BYTES, "y_train": LABELS, "x_test": BYTES[:, :, :3], "y_test": LABELS}, "5 x 3 .*5 x 4"),
        ({"x_train": BYTES, "y_train": LABELS, "class_names": ["a"]}, r"label 1 is 1, expected 0\.\.0"),
        ({"x_train": BYTES[:0], "y_train": LABELS[:0]}, "nothing empty"),
    ],
)
def test_npz_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(RddInputError, match=message):
        load_data("npz", tmp_path / "bad.npz")


def test_stray_label_is_named(tmp_path):
    labels = LABELS.copy()
    labels[3] = 70
    np.savez(tmp_path / "stray.npz", x_train=BYTES, y_train=labels)
    message = r"label 3 is 70, the largest, so classes are 0\.\.70, but class 3 has no training image \(and 66 more"
    with pytest.raises(RddInputError, match=message):
        load_data("npz", tmp_path / "stray.npz")
    names = {"class_names": ["a", "b", "c"]}
    np.savez(tmp_path / "named.npz", x_train=BYTES, y_train=labels, **names)  # type: ignore[arg-type]
    with pytest.raises(RddInputError, match=r"label 3 is 70, expected 0\.\.2"):
        load_data("npz", tmp_path / "named.npz")


def test_names_as_objects_are_refused(tmp_path):
    names = np.array(["a", "b", "c"], object)
    np.savez(tmp_path / "names.npz", x_train=BYTES, y_train=LABELS, class_names=names)
    with pytest.raises(RddInputError, match=r"names\.npz: class_names holds Python objects, .*dtype=str"):
        load_data("npz", tmp_path / "names.npz")


NO_ARCHIVE = r"text\.npz: not an \.npz file.*numpy\.savez\(PATH, x_train="


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x_train,y_train\n1,2\n", NO_ARCHIVE),
        (b"", NO_ARCHIVE),
        (b"\x93NUMPY\x01\x00v\x00{}", r"text\.npz: cannot be read as an \.npz file: EOF"),
    ],
)
def test_no_archive_never_repeats_the_advice_to_unpickle(tmp_path, content, message):
    path = tmp_path / "text.npz"
    path.write_bytes(content)
    with pytest.raises(RddInputError, match=message) as caught:
        load_data("npz", path)
    assert "pickle" not in str(caught.value)


def test_root_that_is_no_file_names_the_option(tmp_path):
    for path, message in ((tmp_path / "nowhere.npz", "no such file; --root"), (tmp_path, "is no file; --root")):
        with pytest.raises(RddIOError, match=f"{path}: {message}"):
            load_data("npz", path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_found(value):
    images = np.full((5000, 1, 2, 2), 0.5)
    images[4500, 0, 1, 0] = value
    with pytest.raises(RddInputError, match=rf"image 4500 has the value {value} at \[0, 1, 0\].*remove or repair"):
        from_arrays((images, np.zeros(5000, int)))


def test_small_excess_of_a_resampling_is_taken():
    images = np.full((2, 1, 2, 2), 1.0005)
    assert from_arrays((images, [0, 0])).train.images.max() > 1
    with pytest.raises(RddInputError, match="divide"):
        from_arrays((images + 0.001, [0, 0]))


def test_torch_dataset():
    tensors = TensorDataset(torch.from_numpy(BYTES) / 255, torch.from_numpy(LABELS))
    data = from_torch_dataset(tensors, TensorDataset(*tensors[:2]), ["a", "b", "c"], name="mine")
    assert (data.name, data.train.class_names) == ("mine", ("a", "b", "c"))
    assert np.array_equal(data.train.images, BYTES / np.float32(255))
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 1]


class Pictures:
    """As torchvision has them."""

    classes = ("x", "y", "z")

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return Image.fromarray(np.moveaxis(BYTES[index], 0, 2)), int(LABELS[index])


def test_dataset_of_pillow_images():
    data = from_torch_dataset(Pictures())
    assert np.array_equal(data.train.images, BYTES)
    assert data.train.class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 2, 3), 0)], r"training item 1: float32 of shape \(1, 2, 3\)"),
        ([(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 2, 2, dtype=torch.uint8), 0)], "item 1: uint8"),
        ([(torch.zeros(2, 2), 0)], r"item 0: shape \(2, 2\)"),
        ([torch.zeros(1, 2, 2)], "item 0: Tensor, a pair"),
        ([(torch.zeros(1, 2, 2), 0.5)], "label 0.5, an integer"),
        ([(Image.new("CMYK", (2, 2)), 0)], "image mode CMYK"),
        ([], "no items"),
    ],
)
def test_datasets_refused(items, message):
    with pytest.raises(RddInputError, match=message):
        from_torch_dataset(items)


def test_check_enough():
    train = from_arrays((BYTES[:5], LABELS[:5])).train
    check_enough(train, 1)
    with pytest.raises(RddInputError, match=r"spc: 2 .* class 0 \(0\) has only 1 image; set spc to at most 1"):
        check_enough(train, 2)
    with pytest.raises(RddInputError, match=r"class 0 \(0\) has only 1 image \(2 more classes have fewer than 9\)"):
        check_enough(train, 9)
