from __future__ import annotations

import os

import numpy as np
import pytest

from rducodec.errors import RddInputError
from rducodec.training.data import NAMES, load_data
from rducodec.training.data import load as module
from rducodec.training.data.folders import decode_listing
from tests.training.data.test_folders import noise, save, write_folder, write_imagenet


def test_digits():
    data = load_data("digits")
    assert data.test is not None
    assert np.bincount(data.train.labels).tolist() == [124] * 10
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    trained = {image.tobytes() for image in data.train.images}
    assert not any(image.tobytes() in trained for image in data.test.images)


def test_every_name_but_digits_asks_for_a_root():
    for name in set(NAMES) - {"digits"}:
        with pytest.raises(RddInputError, match="say where your copy of it is: --root PATH"):
            load_data(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, "'mnist': unknown, expected one of cifar10, cifar100, npz, imagenette"),
        ({"name": "digits", "size": 16}, "its images are 8 x 8; a size is for folders"),
        ({"name": "digits", "size": 0}, "size: 0 x 0 pixels"),
        ({"name": "digits", "root": "somewhere"}, "leave out the folder somewhere"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(RddInputError, match=message):
        load_data(**arguments)


def test_class_without_image(tmp_path):
    write_folder(tmp_path, count=2)
    (tmp_path / "train/c").mkdir()
    with pytest.raises(RddInputError, match=r"class 2 \(c\) has no training image"):
        load_data("folder", tmp_path)


def test_subset_by_name(tmp_path):
    wnids = write_imagenet(tmp_path, "train", "imagenette")
    data = load_data("imagenette", tmp_path, size=4)
    assert data.train.images[:, 0, 0, 0].tolist() == [int(wnid[1:]) % 251 for wnid in wnids]
    assert data.train.shape == (3, 4, 4)
    bands = np.zeros((2, 8, 3), np.uint8)
    bands[:, :2] = 200  # lost where the middle is cut out
    save(tmp_path / "train" / wnids[0] / "x.png", bands)
    stretched = load_data("imagenette", tmp_path, size=4).train.images
    assert stretched[0, 0, 0, 0] > 100


def test_some_classes_of_a_folder_are_decoded_alone(tmp_path):
    write_folder(tmp_path, count=2)
    whole = load_data("folder", tmp_path)
    (tmp_path / "train" / "a" / "broken.png").write_bytes(b"no image")
    some = load_data("folder", tmp_path, classes=(1,))
    assert some.train.class_names == whole.train.class_names[1:2]
    assert np.array_equal(some.train.images, whole.train.images[whole.train.labels == 1])
    assert some.train.labels.tolist() == [0, 0]
    with pytest.raises(RddInputError, match=r"classes: \[7\], expected different numbers 0\.\."):
        load_data("folder", tmp_path, classes=(7,))
    assert (some.classes, whole.classes) == ((1,), ())
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(RddInputError, match="classes c: no images"):
        load_data("folder", tmp_path, classes=(2,))
    digits = load_data("digits", classes=(4, 2))
    assert digits.train.class_names == ("4", "2")
    assert digits.test is not None
    assert len(digits.test.images) == 100


@pytest.fixture
def decodings(monkeypatch):
    """The sizes that were decoded, not taken from a cache."""
    sizes = []

    def counted(listing, size):
        sizes.append(size)
        return decode_listing(listing, size)

    monkeypatch.setattr(module, "decode_listing", counted)
    return sizes


def same(one, other):
    return all(
        np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels) and a.class_names == b.class_names
        for a, b in ((one.train, other.train), (one.test, other.test))
    )


def test_cache(tmp_path, decodings):
    source, cache = tmp_path / "source", tmp_path / "cache" / "below"
    write_folder(source, count=3)
    first = load_data("folder", source, cache=cache)
    assert same(load_data("folder", source, cache=cache), first)
    assert decodings == [None]
    load_data("folder", source, cache=cache, size=3)
    assert decodings == [None, (3, 3)]
    assert len(list(cache.iterdir())) == 2
    save(source / "train/a/000.png", noise(77, 6, 4, 3))
    os.utime(source / "train/a/000.png", ns=(1, 1))  # a clock may be too coarse to tell
    changed = load_data("folder", source, cache=cache)
    assert len(decodings) == 3
    assert not same(changed, first)
    (source / "train/a/001.png").rename(source / "train/b/001b.png")
    assert load_data("folder", source, cache=cache).train.labels.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_damaged_cache_is_replaced(tmp_path, decodings, damage):
    source, cache = tmp_path / "source", tmp_path / "cache"
    write_folder(source, count=3)
    first = load_data("folder", source, cache=cache)
    (path,) = cache.iterdir()
    good = path.read_bytes()
    if damage == "other":
        np.savez(path, train=first.train.images[:2], test=first.train.images[:2])
    else:
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        path.write_bytes({"cut": good[:-30], "flip": bytes(flipped), "empty": b""}[damage])
    assert same(load_data("folder", source, cache=cache), first)
    assert decodings == [None, None]
    assert same(load_data("folder", source, cache=cache), first)
    assert decodings == [None, None]
    assert [each.name for each in cache.iterdir()] == [path.name]


def test_no_cache_unless_asked_for(tmp_path):
    write_folder(tmp_path, count=2)
    before = sorted(tmp_path.rglob("*"))
    load_data("folder", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
