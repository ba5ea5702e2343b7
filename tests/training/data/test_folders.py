from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from rducodec.errors import RddInputError
from rducodec.training.data.folders import cropped, read_image_folder, stretched
from rducodec.training.data.subsets import SUBSETS, list_subset


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_folder(root, *, tests="test", count=40):
    for label, name in enumerate(("b", "a")):
        for index in range(count):
            save(root / "train" / name / f"{index:03d}.png", noise(100 * label + index, 6, 4, 3))
        save(root / tests / name / "x.png", noise(1000 + label, 6, 4, 3))


@pytest.mark.parametrize("tests", ["test", "val"])
def test_train_and_test(tmp_path, tests):
    write_folder(tmp_path, tests=tests)
    (tmp_path / "train" / "a" / ".hidden").write_text("passed over")
    data = read_image_folder(tmp_path)
    assert data.train.class_names == ("a", "b")
    assert data.train.labels.tolist() == [0] * 40 + [1] * 40
    assert data.train.shape == (3, 6, 4)
    for index in (0, 39):
        assert np.array_equal(data.train.images[index], np.moveaxis(noise(100 + index, 6, 4, 3), 2, 0))
        assert np.array_equal(data.train.images[40 + index], np.moveaxis(noise(index, 6, 4, 3), 2, 0))
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 1]
    assert np.array_equal(data.test.images[1], np.moveaxis(noise(1000, 6, 4, 3), 2, 0))


def test_grey_images_have_one_channel_unless_others_are_coloured(tmp_path):
    save(tmp_path / "a/1.png", noise(0, 5, 5))
    save(tmp_path / "b/1.png", noise(1, 5, 5))
    grey = read_image_folder(tmp_path)
    assert grey.test is None
    assert grey.train.images.tolist() == [[noise(0, 5, 5).tolist()], [noise(1, 5, 5).tolist()]]
    save(tmp_path / "b/2.png", noise(2, 5, 5, 3))
    mixed = read_image_folder(tmp_path).train.images
    assert mixed.shape == (3, 3, 5, 5)
    assert np.array_equal(mixed[0], np.stack([noise(0, 5, 5)] * 3))


def test_another_size_names_the_file(tmp_path):
    write_folder(tmp_path)
    save(tmp_path / "train/b/020.png", noise(0, 4, 6, 3))
    with pytest.raises(
        RddInputError, match=r"b/020\.png: 6 x 4 pixels, but .*a/000\.png has 4 x 6 pixels; give a size"
    ):
        read_image_folder(tmp_path)
    assert read_image_folder(tmp_path, size=(3, 3)).train.shape == (3, 3, 3)


def test_opaque_and_transparent_images(tmp_path):
    opaque = np.concatenate([noise(0, 5, 5, 3), np.full((5, 5, 1), 255, np.uint8)], axis=2)
    save(tmp_path / "a/1.png", opaque)
    assert np.array_equal(read_image_folder(tmp_path).train.images[0], np.moveaxis(opaque[..., :3], 2, 0))
    opaque[3, 2, 3] = 254
    save(tmp_path / "a/1.png", opaque)
    with pytest.raises(RddInputError, match=r"a/1\.png: transparent"):
        read_image_folder(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: save(root / "a/d.png", noise(0, 5, 5).astype(np.uint16)), r"d\.png: image mode I;16"),
        (lambda root: (root / "a/d.png").write_bytes(b"\x89PNG\r\n\x1a\nbad"), r"d\.png: cannot be read"),
        (lambda root: (root / "a/d.txt").write_text("x"), r"d\.txt: not an image"),
        (lambda root: save(root / "a/inner/d.png", noise(0, 5, 5)), "inner: a folder within a class"),
        (lambda root: save(root / "train/a/d.png", noise(0, 5, 5)) or (root / "test").mkdir(), "test: no folders of"),
        (
            lambda root: save(root / "train/a/d.png", noise(0, 5, 5)) or (root / "test/a").mkdir(parents=True),
            "test: no im",
        ),
        (
            lambda root: save(root / "train/a/d.png", noise(0, 5, 5)) or save(root / "test/c/d.png", noise(0, 5, 5)),
            "test/c: a class that the training part does not have",
        ),
    ],
)
def test_refused(tmp_path, make, message):
    save(tmp_path / "a/1.png", noise(0, 5, 5))
    make(tmp_path)
    with pytest.raises(RddInputError, match=message):
        read_image_folder(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(RddInputError, match="no such folder"):
        read_image_folder(tmp_path / "none")
    with pytest.raises(RddInputError, match="no folders of classes"):
        read_image_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RddInputError, match="file: not a folder; train/CLASS/IMAGE"):
        read_image_folder(tmp_path / "file")


def test_cropped_cuts_the_middle():
    # A wide image of three vertical bands, the middle one in the square of full height.
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 30:90] = 200
    square = np.asarray(cropped(Image.fromarray(pixels), (20, 20)))
    assert square.shape == (20, 20, 3)
    assert (square == 200).all()
    tall = np.asarray(cropped(Image.fromarray(np.moveaxis(pixels, 1, 0)), (10, 20)))
    assert tall.shape == (10, 20, 3)
    assert (tall == 200).all()


@pytest.mark.parametrize(("height", "width"), [(50, 33), (33, 50), (7, 100), (32, 32), (20, 21)])
def test_cropped_as_the_usual_transforms(height, width):
    # The shorter side becomes 16, the longer one is rounded down; the cut begins at half of the rest.
    image = Image.fromarray(noise(3, height, width, 3))
    short = min(height, width)
    whole = (16, int(16 * width / height)) if height == short else (int(16 * height / width), 16)
    scaled = np.asarray(image.resize((whole[1], whole[0]), Image.Resampling.BICUBIC))
    top, left = round((whole[0] - 16) / 2), round((whole[1] - 16) / 2)
    assert np.array_equal(np.asarray(cropped(image, (16, 16))), scaled[top : top + 16, left : left + 16])


def test_stretched_keeps_the_borders():
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 30:90] = 200
    whole = np.asarray(stretched(Image.fromarray(pixels), (20, 20)))
    assert whole.shape == (20, 20, 3)
    assert (whole[:, :4] == 0).all()
    assert (whole[:, 6:14] == 200).all()
    assert (whole[:, 16:] == 0).all()


def write_imagenet(root, part, name):
    """An image a class of a subset, in folders called by its WNIDs, from which the colours follow; returns these."""
    for wnid in SUBSETS[name]:
        save(root / part / wnid / "x.png", np.full((2, 2, 3), int(wnid[1:]) % 251, np.uint8))
    return SUBSETS[name]


@pytest.mark.parametrize("name", SUBSETS)
def test_subset_of_ten_folders(tmp_path, name):
    write_imagenet(tmp_path, "train", name)
    write_imagenet(tmp_path, "val", name)
    listing = list_subset(tmp_path, name)
    assert listing.test is not None
    for part in (listing.train, listing.test):
        assert tuple(path.parent.name for path in part.paths) == SUBSETS[name]
        assert part.labels.tolist() == list(range(10))
        assert part.class_names == SUBSETS[name]


def test_subset_among_other_classes(tmp_path):
    for name in SUBSETS:
        write_imagenet(tmp_path, "train", name)
    listing = list_subset(tmp_path, "imagewoof")
    assert tuple(path.parent.name for path in listing.train.paths) == SUBSETS["imagewoof"]
    assert listing.test is None


def test_subset_refused(tmp_path):
    with pytest.raises(RddInputError, match="none: no such folder; train/n01440764/IMAGE or n01440764/IMAGE expected"):
        list_subset(tmp_path / "none", "imagenette")
    write_imagenet(tmp_path, "train", "imagewoof")
    wnids = " ".join(SUBSETS["imagenette"])
    message = (
        rf"train: no folder n01440764 \(and 9 more\); imagenette needs .* name: {wnids}, for training in ROOT/train"
    )
    with pytest.raises(RddInputError, match=message):
        list_subset(tmp_path, "imagenette")
    write_imagenet(tmp_path, "train", "imagenette")
    write_imagenet(tmp_path, "val", "imagenette")
    shutil.rmtree(tmp_path / "val/n03888257")
    with pytest.raises(RddInputError, match="val: no folder n03888257; imagenette needs"):
        list_subset(tmp_path, "imagenette")


def test_subsets_have_ten_different_classes():
    assert all(len(set(wnids)) == len(wnids) == 10 for wnids in SUBSETS.values())
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnids in SUBSETS.values() for wnid in wnids)


def test_wnids_are_those_of_the_published_indices():
    # An index of ImageNet-1k is the place of a WNID among all of them in order of their names.
    published = {
        "imagenette": "0 217 482 491 497 566 569 571 574 701",
        "imagewoof": "193 182 258 162 155 167 159 273 207 229",
        "imagefruit": "953 954 949 950 951 957 952 945 943 948",
        "imageyellow": "309 986 954 951 987 779 599 291 72 11",
        "imagemeow": "281 282 283 284 285 291 292 290 289 287",
        "imagesquawk": "84 130 88 144 145 22 96 9 100 89",
    }
    pairs = {
        (int(index), wnid)
        for name, text in published.items()
        for index, wnid in zip(text.split(), SUBSETS[name], strict=True)
    }
    assert len({index for index, _ in pairs}) == len({wnid for _, wnid in pairs}) == len(pairs) == 57
    assert [wnid for _, wnid in sorted(pairs)] == sorted(wnid for _, wnid in pairs)
