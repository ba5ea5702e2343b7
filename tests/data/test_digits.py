import hashlib

import numpy as np

from rducodec.data import load_digits

# sha256 of the uint8 images, then the uint8 labels: what the original file holds, whatever the .npz looks like.
CONTENT_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_shapes_and_types() -> None:
    images, labels = load_digits()
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.float32
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64


def test_range_is_zero_to_one_in_sixteenths() -> None:
    images, _ = load_digits()
    assert images.min() == 0.0
    assert images.max() == 1.0
    assert np.array_equal(images * 16, np.round(images * 16))


def test_label_histogram() -> None:
    _, labels = load_digits()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_content_is_the_original() -> None:
    images, labels = load_digits()
    content = (images * 16).astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
    assert hashlib.sha256(content).hexdigest() == CONTENT_SHA256


def test_each_call_gives_fresh_arrays() -> None:
    first, _ = load_digits()
    first[:] = 7
    again, _ = load_digits()
    assert again.max() == 1.0
