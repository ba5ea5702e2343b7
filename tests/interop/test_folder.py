from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from PIL import Image

import rducodec
from rducodec.errors import RddInputError, RddIOError
from rducodec.interop import read_source
from rducodec.interop.folder import to_pixels


def image(size=(4, 3), mode="RGB", value=0) -> Image.Image:
    return Image.new(mode, size, value)


def put(root, name: str, picture: Image.Image | None = None) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture or image()).save(path)


def test_classes_are_sorted_folders_and_images_sorted_names(tmp_path):
    for value, name in enumerate(["b/10.png", "b/2.png", "a/x.PNG", "C/y.bmp"]):
        put(tmp_path, name, image(mode="L", value=value))
    source = read_source(tmp_path)
    assert source.class_names == ("C", "a", "b")
    assert source.samples[:, 0, 0, 0].tolist() == [3, 2, 0, 1]
    assert source.labels.tolist() == [0, 1, 2, 2]
    assert source.samples.shape == (4, 1, 3, 4)
    assert source.space == rducodec.ValueSpace()


def test_channels_come_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    put(tmp_path, "a/1.png", Image.fromarray(pixels))
    assert np.array_equal(read_source(tmp_path).samples[0], np.moveaxis(pixels, 2, 0))


def test_empty_class_is_kept(tmp_path):
    put(tmp_path, "b/1.png")
    (tmp_path / "a").mkdir()
    source = read_source(tmp_path)
    assert source.num_classes == 2
    assert source.labels.tolist() == [1]


def test_hidden_files_and_loose_texts_are_passed_over(tmp_path):
    put(tmp_path, "a/1.png")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("x")
    assert len(read_source(tmp_path).samples) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (image(size=(5, 3)), "5 x 3 pixels of mode RGB, but .*1.png has 4 x 3"),
        (image(mode="L"), "mode L, but"),
        (image(mode="CMYK"), "image mode CMYK"),
        (image(mode="I;16"), "image mode I;16"),
    ],
)
def test_images_must_be_of_one_kind(tmp_path, other, message):
    put(tmp_path, "a/1.png")
    put(tmp_path, "b/2.tif", other)
    with pytest.raises(RddInputError, match=message) as caught:
        read_source(tmp_path)
    assert str(tmp_path / "b" / "2.tif") in str(caught.value)


def test_palettes_and_bits_are_read_as_colours(tmp_path):
    put(tmp_path, "a/1.png", image(value=(10, 20, 30)).quantize(4))
    assert read_source(tmp_path).samples[0, :, 0, 0].tolist() == [10, 20, 30]
    put(tmp_path / "bits", "a/1.png", image(mode="1", value=1))
    assert read_source(tmp_path / "bits").samples.min() == 255


def test_transparent_palette_is_refused(tmp_path):
    path = tmp_path / "a" / "1.png"
    path.parent.mkdir()
    image().quantize(4).save(path, transparency=0)
    with pytest.raises(RddInputError, match="opaque"):
        read_source(tmp_path)


def test_animation_is_refused(tmp_path):
    path = tmp_path / "a" / "1.gif"
    path.parent.mkdir()
    image(mode="L").save(path, save_all=True, append_images=[image(mode="L", value=9)])
    with pytest.raises(RddInputError, match="2 frames"):
        read_source(tmp_path)


def damaged(tmp_path, data: bytes, name: str = "1.png"):
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / name).write_bytes(data)
    with pytest.raises(RddInputError, match=f"{name}: "):
        read_source(tmp_path)


def test_damaged_images(tmp_path):
    put(tmp_path, "good/1.png", Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)))
    good = (tmp_path / "good" / "1.png").read_bytes()
    for data in (b"", b"hello", good[: len(good) // 2], good[:20], good[:30] + b"\xff" * 9 + good[39:]):
        damaged(tmp_path, data)


def test_image_that_declares_too_much(tmp_path):
    put(tmp_path, "good/1.png")
    data = bytearray((tmp_path / "good" / "1.png").read_bytes())
    data[16:24] = bytes([0, 1, 0, 0] * 2)  # 65536 x 65536
    damaged(tmp_path, bytes(data))


def test_anything_but_an_image_is_named(tmp_path):
    put(tmp_path, "a/1.png")
    damaged(tmp_path, b"notes", "notes.txt")


def test_image_without_a_class(tmp_path):
    put(tmp_path, "1.png")
    with pytest.raises(RddInputError, match="image without a class"):
        read_source(tmp_path)


def test_no_images(tmp_path):
    with pytest.raises(RddInputError, match="no images"):
        read_source(tmp_path)


def test_folder_has_pixels_and_nothing_else(tmp_path):
    put(tmp_path, "a/1.png")
    assert read_source(tmp_path, space=rducodec.ValueSpace()).divisor == 255
    with pytest.raises(RddInputError, match="holds pixels"):
        read_source(tmp_path, space=rducodec.ValueSpace("zca", text="x"))
    with pytest.raises(RddInputError, match="states its own"):
        read_source(tmp_path, num_classes=3)


def test_class_name_that_a_file_cannot_hold(tmp_path):
    put(tmp_path, "-a/1.png")
    with pytest.raises(RddInputError, match="cannot be a folder name"):
        read_source(tmp_path)


def test_image_that_the_system_refuses(tmp_path):
    (tmp_path / "a" / "1.png").mkdir(parents=True)
    with pytest.raises(RddIOError) as caught:
        read_source(tmp_path)
    assert caught.value.errno == errno.EISDIR


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX links")
def test_dangling_link(tmp_path):
    put(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.png").symlink_to("nowhere")
    with pytest.raises(RddIOError, match=r"2\.png"):
        read_source(tmp_path)


def test_every_byte_survives_the_way_to_floats_and_back():
    stored = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    floats = np.divide(stored, np.float32(255), dtype=np.float32)
    assert np.array_equal(to_pixels(floats, rducodec.ValueSpace()), stored)
    mean, std = np.float32(0.4914), np.float32(0.2023)
    space = rducodec.ValueSpace("standardised", (float(mean),), (float(std),))
    assert np.array_equal(to_pixels((floats - mean) / std, space), stored)
