from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

import rducodec
from rducodec_cli.decode import chosen_classes
from spec.make_vectors import counts
from tests.cli.command import latent, pixels, refused, run

NAMES = rducodec.Texts(class_names=("wren", "owl, barn", "hawk"))


def test_npz(tmp_path):
    path = latent(tmp_path, space=rducodec.ValueSpace())
    out = tmp_path / "out.npz"
    outcome = run("decode", path, out)
    assert outcome.code == 0
    assert "5 samples of 1 x 4 x 4, 2 classes; float32; pixels" in outcome.out
    with np.load(out) as arrays:
        assert arrays["samples"].dtype == np.float32
        assert arrays["labels"].dtype == np.int64
        assert np.array_equal(arrays["samples"], rducodec.read(path).samples())
        assert arrays["labels"].tolist() == [0, 0, 2, 2, 2]
        assert json.loads(str(arrays["space"])) == {"kind": "pixels"}


def test_npz_is_the_same_every_time(tmp_path):
    path = latent(tmp_path)
    run("decode", path, tmp_path / "a.npz")
    run("decode", path, tmp_path / "b.npz", "--threads", 1)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_pt(tmp_path):
    torch = pytest.importorskip("torch")
    path = latent(tmp_path, space=rducodec.ValueSpace("standardised", (0.5,), (0.25,)))
    assert run("decode", path, tmp_path / "out.pt", "--device", "cpu").code == 0
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    assert np.array_equal(content["samples"].numpy(), rducodec.read(path).samples())
    assert content["labels"].tolist() == [0, 0, 2, 2, 2]
    assert json.loads(content["space"]) == {"kind": "standardised", "mean": [0.5], "std": [0.25]}


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path = latent(tmp_path)
    assert run("decode", path, tmp_path / "out.safetensors").code == 0
    tensors = numpy.load_file(tmp_path / "out.safetensors")
    assert np.array_equal(tensors["samples"], rducodec.read(path).samples())


@pytest.mark.parametrize(("suffix", "package"), [(".pt", "torch"), (".safetensors", "safetensors.numpy")])
def test_missing_optional_package(tmp_path, monkeypatch, suffix, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setitem(__import__("sys").modules, package.partition(".")[0], None)
    message = refused(4, "decode", latent(tmp_path), tmp_path / f"out{suffix}")
    assert f"pip install {package.partition('.')[0]}" in message
    assert [path.name for path in tmp_path.iterdir()] == ["latent.rdd"]


def test_json(tmp_path):
    path, _ = pixels(tmp_path)
    found = run("decode", path, tmp_path / "out", "--json").json
    assert found["shape"] == [5, 3, 6, 4]
    assert found["dtype"] == "uint8"
    assert found["classes"] == [0, 2]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_folder_holds_the_pixels_exactly(tmp_path, channels):
    path, samples = pixels(tmp_path, channels=channels)
    assert run("decode", path, tmp_path / "out").code == 0
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["0", "1", "2"]
    assert list((tmp_path / "out" / "1").iterdir()) == []
    files = [*sorted((tmp_path / "out" / "0").iterdir()), *sorted((tmp_path / "out" / "2").iterdir())]
    assert [file.name for file in files] == ["0000.png", "0001.png", "0000.png", "0001.png", "0002.png"]
    for file, expected in zip(files, samples, strict=True):
        with Image.open(file) as image:
            found = np.asarray(image)
        assert np.array_equal(found[None] if channels == 1 else np.moveaxis(found, 2, 0), expected)


def test_folders_have_the_names_of_the_classes(tmp_path):
    path, _ = pixels(tmp_path, texts=NAMES)
    run("decode", path, f"{tmp_path}/out.v1/", "--classes", "hawk")
    assert [folder.name for folder in (tmp_path / "out.v1").iterdir()] == ["hawk"]


def test_standardised_samples_become_pixels_again(tmp_path):
    space = rducodec.ValueSpace("standardised", (0.5,), (0.25,))
    values = np.array([-4.0, -2.0, 0.0, 1.0, 2.0, 9.0], np.float32).reshape(1, 1, 2, 3)
    path = tmp_path / "a.rdd"
    path.write_bytes(rducodec.pack_raw(values, counts(1), rducodec.RawConfig(True, 32), space=space))
    assert run("decode", path, tmp_path / "out").code == 0
    with Image.open(tmp_path / "out" / "0" / "0000.png") as image:
        assert np.asarray(image).reshape(-1).tolist() == [0, 0, 128, 191, 255, 255]


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (None, "not stated"),
        (rducodec.ValueSpace("zca", text="eps 0.1"), "zca"),
        (rducodec.ValueSpace("other", text="x"), "x"),
    ],
)
def test_no_images_from_a_space_without_pixels(tmp_path, space, reason):
    path = latent(tmp_path, space=space)
    assert reason in refused(7, "decode", path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run("decode", path, tmp_path / "out.npz").code == 0


def test_no_images_of_two_channels(tmp_path):
    path, _ = pixels(tmp_path, channels=2)
    assert "2 channels" in refused(7, "decode", path, tmp_path / "out")


@pytest.mark.parametrize(("text", "classes"), [("0", [0]), ("2,0", [0, 2]), ("owl, barn", [1]), ("wren, 2", [0, 2])])
def test_classes_by_number_and_name(tmp_path, text, classes):
    path, _ = pixels(tmp_path, texts=NAMES)
    assert chosen_classes(text, rducodec.read(path)) == classes


def test_only_some_classes(tmp_path):
    path, samples = pixels(tmp_path)
    assert run("decode", path, tmp_path / "out.npz", "--classes", "2").code == 0
    with np.load(tmp_path / "out.npz") as arrays:
        assert np.array_equal(arrays["samples"], samples[2:].astype(np.float32) / np.float32(255))
        assert arrays["labels"].tolist() == [2, 2, 2]


def test_a_class_without_samples(tmp_path):
    path, _ = pixels(tmp_path)
    assert run("decode", path, tmp_path / "out.npz", "--classes", "1").code == 0
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["samples"].shape == (0, 3, 6, 4)


@pytest.mark.parametrize("text", ["3", "-1", "", "hawk", "0,", "1.0", "²"])
def test_unknown_class(tmp_path, text):
    path, _ = pixels(tmp_path)
    assert "0..2" in refused(2, "decode", path, tmp_path / "out.npz", "--classes", text)


def test_order_of_the_source_is_kept(tmp_path):
    order = np.array([1, 0, 1, 0])
    samples = np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2)
    path = tmp_path / "a.rdd"
    labels = rducodec.Labels(np.bincount(order), order)
    path.write_bytes(rducodec.pack_raw(samples, labels, rducodec.RawConfig(False, 8, 255), space=rducodec.ValueSpace()))
    run("decode", path, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["labels"].tolist() == order.tolist()
        assert np.array_equal(np.rint(arrays["samples"] * 255), samples)


def test_output_is_the_input(tmp_path):
    path = latent(tmp_path).rename(tmp_path / "a.npz")
    before = path.read_bytes()
    assert "both input and output" in refused(6, "decode", path, path)
    assert path.read_bytes() == before


def test_unknown_kind_of_output(tmp_path):
    assert "'.png' is none of .npz" in refused(2, "decode", latent(tmp_path), tmp_path / "out.png")


def test_folder_that_is_not_empty(tmp_path):
    path, _ = pixels(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    assert "not empty" in refused(6, "decode", path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]


def test_target_is_a_folder(tmp_path):
    (tmp_path / "out.npz").mkdir()
    assert "is a folder" in refused(6, "decode", latent(tmp_path), tmp_path / "out.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_target_is_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "out.npz")
    assert "FIFO" in refused(6, "decode", latent(tmp_path), tmp_path / "out.npz")


def test_target_is_read_only(tmp_path):
    (tmp_path / "out.npz").write_bytes(b"old")
    (tmp_path / "out.npz").chmod(0o444)
    assert "read-only" in refused(6, "decode", latent(tmp_path), tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_bytes() == b"old"


@pytest.mark.parametrize("out", ["out.npz", "out"])
def test_disk_full_leaves_nothing(tmp_path, monkeypatch, out):
    path, _ = pixels(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    monkeypatch.setattr(Image.Image, "save", full)
    assert refused(6, "decode", path, tmp_path / out) == f"{tmp_path / out}: No space left on device"
    assert [file.name for file in tmp_path.iterdir()] == ["pixels.rdd"]
