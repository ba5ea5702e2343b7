from __future__ import annotations

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

from rducodec.errors import RddInputError
from rducodec.training.data.cifar import CIFAR10, CIFAR100, read_cifar
from rducodec.training.data.pickled import read_pickled_dict
from tests.training.data.pickles import Python2Pickle

TRAIN, TEST = 4, 3  # images of a training file and of the test file
SMALL10 = replace(CIFAR10, train_per_file=TRAIN, num_test=TEST)
SMALL100 = replace(CIFAR100, train_per_file=TRAIN, num_test=TEST)
NAMES10 = [f"kind{label}" for label in range(10)]
NAMES100 = [f"kind_{label}" for label in range(100)]


def content(count, classes, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, classes, count)


def parts(which):
    files = [*which.binary.train, which.binary.test]
    for index, _ in enumerate(files):
        count = TEST if index == len(files) - 1 else TRAIN
        yield index, *content(count, which.num_classes, index)


def write_binary(folder, which, names):
    folder.mkdir(parents=True)
    for index, images, labels in parts(which):
        name = [*which.binary.train, which.binary.test][index]
        coarse = b"\x07" * (which.label_bytes - 1)
        records = [coarse + bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]
        (folder / name).write_bytes(b"".join(records))
    (folder / which.binary.names).write_text("\n".join(names) + "\n\n")


def write_python(folder, which, names, dumps=None):
    folder.mkdir(parents=True)
    dumps = dumps or (lambda value: Python2Pickle().dumps(value))
    for index, images, labels in parts(which):
        name = [*which.python.train, which.python.test][index]
        batch = {
            "batch_label": "part",
            which.python.labels_key: labels.tolist(),
            "data": images,
            "filenames": ["a.png"],
        }
        (folder / name).write_bytes(dumps(batch))
    (folder / which.python.names).write_bytes(dumps({"num_vis": 3072, which.python.names_key: names}))


def check(data, which, names):
    expected = list(parts(which))
    images = np.concatenate([part[1] for part in expected])
    labels = np.concatenate([part[2] for part in expected])
    assert data.test is not None
    found = np.concatenate([data.train.images, data.test.images])
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert data.test.images.flags.writeable
    assert len(data.test.images) == TEST
    for index in (0, len(images) - 1):
        for channel, row, column in ((0, 0, 0), (1, 31, 2), (2, 5, 31)):
            assert found[index, channel, row, column] == images[index][channel * 1024 + row * 32 + column]
    assert np.array_equal(np.concatenate([data.train.labels, data.test.labels]), labels)
    assert data.train.class_names == data.test.class_names == tuple(names)
    assert data.name == which.name


@pytest.mark.parametrize("write", [write_binary, write_python])
@pytest.mark.parametrize(("which", "names"), [(SMALL10, NAMES10), (SMALL100, NAMES100)])
@pytest.mark.parametrize("below", [False, True])
def test_layouts(tmp_path, write, which, names, below):
    layout = which.binary if write is write_binary else which.python
    write(tmp_path / "copy" / (layout.folder if below else "."), which, names)
    check(read_cifar(tmp_path / "copy", which), which, names)


@pytest.mark.parametrize("protocol", [3, 4])
def test_pickles_of_python_3(tmp_path, protocol):
    def dumps(value):
        return pickle.dumps(value, protocol)

    write_python(tmp_path / "copy", SMALL10, NAMES10, dumps)
    check(read_cifar(tmp_path / "copy", SMALL10), SMALL10, NAMES10)


def test_complete_sizes_are_those_of_the_published_files():
    assert (CIFAR10.train_per_file * len(CIFAR10.binary.train), CIFAR10.num_test) == (50_000, 10_000)
    assert (CIFAR100.train_per_file * len(CIFAR100.binary.train), CIFAR100.num_test) == (50_000, 10_000)


def test_missing_copy_says_what_to_do(tmp_path):
    with pytest.raises(RddInputError, match=r"looked for data_batch_1\.bin .* or data_batch_1 .*download"):
        read_cifar(tmp_path, CIFAR10)
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"")
    with pytest.raises(RddInputError, match=r"extract cifar-100-python\.tar\.gz"):
        read_cifar(tmp_path, CIFAR100)
    with pytest.raises(RddInputError, match="download cifar10"):
        read_cifar(tmp_path, CIFAR10)


def test_incomplete_copy(tmp_path):
    write_binary(tmp_path / "copy", SMALL10, NAMES10)
    (tmp_path / "copy/data_batch_3.bin").unlink()
    with pytest.raises(RddInputError, match=r"data_batch_3\.bin not found.*incomplete"):
        read_cifar(tmp_path / "copy", SMALL10)


def test_damaged_binary_files(tmp_path):
    write_binary(tmp_path / "a", SMALL10, NAMES10)
    path = tmp_path / "a/data_batch_2.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(RddInputError, match=rf"data_batch_2\.bin: {len(data) - 1} bytes, {len(data)} expected"):
        read_cifar(tmp_path / "a", SMALL10)
    path.write_bytes(data[:3073] + b"\x0a" + data[3074:])
    with pytest.raises(RddInputError, match=r"data_batch_2\.bin: label 1 is 10, expected 0\.\.9"):
        read_cifar(tmp_path / "a", SMALL10)
    path.write_bytes(data)
    (tmp_path / "a/batches.meta.txt").write_text("one\ntwo\n")
    with pytest.raises(RddInputError, match=r"2 names of classes, 10 expected"):
        read_cifar(tmp_path / "a", SMALL10)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [0, 1, 2, 3]}, "no 'data' in it"),
        ({"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 2, 3]}, r"shape \(3, 3072\), 4 images"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2]}, "3 items, 4 integers"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2, "x"]}, "4 items, 4 integers"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, -1, 2]}, "label 2 is -1"),
        ({"data": "text", "labels": [0, 1, 2, 3]}, "'data' is 'text'"),
    ],
)
def test_damaged_python_files(tmp_path, batch, message):
    write_python(tmp_path / "a", SMALL10, NAMES10)
    (tmp_path / "a/data_batch_5").write_bytes(Python2Pickle().dumps(batch))
    with pytest.raises(RddInputError, match=message) as caught:
        read_cifar(tmp_path / "a", SMALL10)
    assert "data_batch_5" in str(caught.value)


def array_pickle(**options):
    writer = Python2Pickle()
    return b"\x80\x02}U\x04data" + writer.array(np.arange(6, dtype=np.uint8), **options) + b"s."


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


# What a pickle says, and a word of the refusal.
HOSTILE = {
    "os.system": (b"\x80\x02}U\x01acposix\nsystem\nU\x0aecho pwned\x85Rs.", r"'posix\.system', which is not allowed"),
    "eval": (pickle.dumps({"a": Evil(eval, "1 + 1")}, 2), r"'__builtin__\.eval'"),
    "exec of a new protocol": (pickle.dumps({"a": Evil(exec, "x = 1")}, 4), r"'builtins\.exec'"),
    "another name of numpy": (b"\x80\x02}U\x01acnumpy\nload\nU\x05a.npy\x85Rs.", r"'numpy\.load'"),
    "numpy's code runner": (b"\x80\x02}U\x01acnumpy.testing._private.utils\nrunstring\n)Rs.", "runstring"),
    "a class": (b"\x80\x02}U\x01acnumpy\nndarray\n)Rs.", r"calls numpy\.ndarray"),
    "old style instance": (b"(iposix\nsystem\n.", "INST is not allowed"),
    "persistent id": (b"\x80\x02U\x01aQ.", "BINPERSID is not allowed"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1 is not allowed"),
    "objects": (array_pickle(code=b"O8"), "'O8', of bytes"),
    "too many values": (array_pickle(sizes=(1 << 30,)), r"shape \(1073741824,\) with 6 bytes"),
    "negative size": (array_pickle(sizes=(-6,)), "shape, type or bytes"),
    "cut short": (array_pickle()[:-9], "pickle"),
    "no dict": (b"\x80\x02]q\x01.", "a list, a dict expected"),
    "empty": (b"", "pickle"),
    "list as key": (b"\x80\x02}]K\x01s.", "a list as a key"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickle_is_refused_and_runs_nothing(tmp_path, name):
    data, message = HOSTILE[name]
    path = tmp_path / "x"
    path.write_bytes(data)
    seen = []
    armed = [True]

    def hook(event, arguments):
        if armed[0] and event.split(".")[0] in ("import", "exec", "compile", "os", "subprocess", "pickle"):
            seen.append((event, arguments))

    sys.addaudithook(hook)  # stays for the process, but is told to sleep
    try:
        with pytest.raises(RddInputError, match=message) as caught:
            read_pickled_dict(path)
    finally:
        armed[0] = False
    assert str(path) in str(caught.value)
    assert seen == []


def test_every_truncation_of_a_pickle_is_refused(tmp_path):
    data = array_pickle()
    (tmp_path / "x").write_bytes(data)
    assert read_pickled_dict(tmp_path / "x")["data"].tolist() == list(range(6))
    for length in range(len(data)):
        (tmp_path / "x").write_bytes(data[:length])
        with pytest.raises(RddInputError):
            read_pickled_dict(tmp_path / "x")


def test_order_of_columns(tmp_path):
    values = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    (tmp_path / "x").write_bytes(pickle.dumps({b"data": values}, 4))
    assert read_pickled_dict(tmp_path / "x")["data"].tolist() == [[0, 1, 2], [3, 4, 5]]
