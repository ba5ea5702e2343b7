from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.training.data import LabelledImages, fit_space, load_zca, sample_space, save_zca
from rducodec.training.data import moments as moments_module
from rducodec.training.data.moments import channel_statistics, pixel_moments


def images(count=40, *, channels=3, size=4, seed=0):
    """Correlated 8-bit images: neighbours share a part, so that the covariance is not near a multiple of 1."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(count, channels, 1, 1)) * 30 + rng.normal(size=(count, 1, size, size)) * 20
    pixels = np.clip(base + rng.normal(size=(count, channels, size, size)) * 10 + 100, 0, 255).astype(np.uint8)
    return LabelledImages(pixels, np.zeros(count, np.int64), ("only",))


def pixels(data):
    return torch.from_numpy(data.pixels())


def test_pixels_are_left_alone():
    data = images()
    space = fit_space("pixels", data)
    assert space.space == ValueSpace()
    assert torch.equal(space.forward(pixels(data)), pixels(data))
    assert torch.equal(space.inverse(pixels(data)), pixels(data))


@pytest.mark.parametrize("block_bytes", [1, 1 << 26])
def test_statistics_of_channels(monkeypatch, block_bytes):
    monkeypatch.setattr(moments_module, "BLOCK_BYTES", block_bytes)
    data = images()
    found = channel_statistics(data)
    values = data.images.astype(np.float64) / 255
    assert np.allclose(found.mean, values.mean(axis=(0, 2, 3)), rtol=1e-14)
    assert np.allclose(found.std, values.std(axis=(0, 2, 3)), rtol=1e-13)


def test_standardised_images_have_mean_0_and_deviation_1():
    data = images()
    space = fit_space("standardised", data)
    values = space.forward(pixels(data))
    assert torch.allclose(values.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(values.std(dim=(0, 2, 3), unbiased=False), torch.ones(3), atol=1e-5)
    assert torch.allclose(space.inverse(values), pixels(data), atol=1e-6)
    assert space.space.kind == "standardised"
    assert np.allclose(space.space.mean, (data.images / 255).mean(axis=(0, 2, 3)))


def test_known_and_stated_constants():
    data = images()
    space = fit_space("standardised:cifar10", data)
    assert space.space.mean == (0.4914, 0.4822, 0.4465)
    value = space.forward(torch.full((1, 3, 1, 1), 0.5))
    assert value.flatten().tolist() == pytest.approx([0.0086 / 0.2023, 0.0178 / 0.1994, 0.0535 / 0.2010], rel=1e-4)
    assert fit_space("standardised:mean=0.5,std=0.25", images(channels=1)).space.std == (0.25,)


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        ("standardised:cifar10", 1, "3 means and 3 standard deviations for images of 1 channels"),
        ("standardised:mean=0,std=0", 1, "standard deviations positive"),
        ("standardised:mean=nan,std=1", 1, "means must be finite"),
        (
            "standardised:elsewhere",
            3,
            "expected pixels, standardised, zca or .*CONSTANTS are one of cifar10, ",
        ),
        ("standardised:mean=a,std=b", 1, "a number for each channel"),
        ("zca:elsewhere", 3, "expected pixels, standardised, zca or zca:standardised"),
        ("zca:cifar10", 1, "for images of 1 channels"),
        ("other:mine", 3, "expected pixels, standardised, zca or zca:standardised"),
        ("foo", 3, "'foo': expected pixels, standardised, zca or zca:standardised"),
        ("pixels:", 3, "'pixels:': expected pixels"),
    ],
)
def test_specs_refused(spec, channels, message):
    with pytest.raises(RddInputError, match=message) as caught:
        fit_space(spec, images(channels=channels))
    assert "zca:TEXT" not in str(caught.value)
    assert "other:TEXT" not in str(caught.value)


def test_channel_of_one_value():
    data = images()
    data.images[:, 1] = 7
    with pytest.raises(RddInputError, match="channel 1 of the training images has one value only"):
        fit_space("standardised", data)


def plain_zca(values):
    """By the definition, from flattened standardised images: centred, covariance over n - 1, (C + 0.1)^(-1/2)."""
    centre = values.mean(axis=0)
    covariance = np.cov(values, rowvar=False)
    left, singular, _ = np.linalg.svd(covariance)
    return centre, left @ np.diag(1 / np.sqrt(singular + 0.1)) @ left.T


@pytest.mark.parametrize("count", [20, 300])  # fewer images than values, and more
@pytest.mark.parametrize("spec", ["zca", "zca:standardised"])  # pixels in [0, 1], as MTT has it, or standardised
def test_zca_by_its_definition(count, spec):
    data = images(count)
    values = data.images / 255.0
    if spec == "zca:standardised":
        mean, std = (getattr(values, name)(axis=(0, 2, 3), keepdims=True) for name in ("mean", "std"))
        values = (values - mean) / std
    flat = values.reshape(count, -1)
    centre, whitening = plain_zca(flat)
    space = fit_space(spec, data)
    assert space.whitening is not None
    assert np.allclose(space.whitening.numpy(), whitening, atol=1e-5)
    found = space.forward(pixels(data))
    assert np.allclose(found.numpy().reshape(count, -1), (flat - centre) @ whitening, atol=1e-4)
    assert torch.allclose(space.inverse(found), pixels(data), atol=1e-5)


def test_zca_after_known_constants():
    data = images(200)
    mean, std = (np.array(numbers)[:, None, None] for numbers in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    flat = ((data.images / 255.0 - mean) / std).reshape(200, -1)
    centre, whitening = plain_zca(flat)
    found = fit_space("zca:cifar10", data).forward(pixels(data))
    assert np.allclose(found.numpy().reshape(200, -1), (flat - centre) @ whitening, atol=1e-4)


def test_zca_of_floats_is_that_of_the_same_bytes():
    data = images(100)
    floats = LabelledImages(data.pixels(), data.labels, data.class_names)
    one, other = fit_space("zca", data), fit_space("zca", floats)
    assert one.whitening is not None
    assert other.whitening is not None
    assert torch.allclose(one.whitening, other.whitening, atol=1e-5)


def test_moments_are_exact_in_any_blocks(monkeypatch):
    data = images(50)
    whole = pixel_moments(data)
    flat = data.images.reshape(50, -1).astype(np.int64)
    assert np.array_equal(whole.products, flat.T @ flat)
    assert np.array_equal(whole.sums, flat.sum(axis=0))
    monkeypatch.setattr(moments_module, "BLOCK_BYTES", 8 * 48 * 7)  # 7 images
    order = np.random.default_rng(1).permutation(50)
    shuffled = LabelledImages(data.images[order], data.labels, data.class_names)
    assert pixel_moments(shuffled).digest() == whole.digest()


def test_header_names_the_whitening():
    data = images()
    text = fit_space("zca", data).space.text
    assert text == fit_space("zca", images()).space.text
    assert "eps=0.1;images=40;moments=sha256:" in text
    assert text.startswith("mean=0.")
    assert fit_space("zca:cifar10", data).space.text.split("sha256:")[1] == text.split("sha256:")[1]
    data.images[3, 1, 2, 2] ^= 1
    assert fit_space("zca", data).space.text != text


def test_digest_of_the_moments_is_fixed():
    # Files name whitenings by it: another digest of the same images would orphan them.
    data = LabelledImages(np.array([[[[0, 3]]], [[[2, 4]]]], np.uint8), np.zeros(2, np.int64), ("only",))
    parts = np.array([2, 255, 1, 1, 2, 2, 7, 4, 8, 25], "<i8").tobytes()  # count, units, shape, sums, products
    assert pixel_moments(data).digest() == hashlib.sha256(b"rducodec pixel moments 1\0" + parts).hexdigest()


def test_zca_refused():
    with pytest.raises(RddInputError, match="at least two training images"):
        fit_space("zca:cifar10", images(1))
    large = LabelledImages(np.zeros((2, 3, 65, 65), np.uint8), np.zeros(2, np.int64), ("only",))
    with pytest.raises(RddInputError, match=r"ZCA of images of 12675 values would need 1 GB.*standardised"):
        fit_space("zca:cifar10", large)


def test_saved_constants_give_the_same_space(tmp_path):
    data = images(60)
    space = fit_space("zca", data)
    save_zca(space, tmp_path / "zca.safetensors")
    for loaded in (
        load_zca(tmp_path / "zca.safetensors"),
        sample_space(space.space, 3, zca_file=tmp_path / "zca.safetensors"),
    ):
        assert loaded.space == space.space
        assert torch.equal(loaded.forward(pixels(data)), space.forward(pixels(data)))
        assert torch.equal(loaded.inverse(pixels(data)), space.inverse(pixels(data)))


def test_constants_of_other_images_are_refused(tmp_path):
    save_zca(fit_space("zca", images(seed=1)), tmp_path / "zca.safetensors")
    with pytest.raises(RddInputError, match="not those of the samples"):
        load_zca(tmp_path / "zca.safetensors", fit_space("zca", images(seed=2)).space)
    with pytest.raises(RddInputError, match="not those of the samples"):
        load_zca(tmp_path / "zca.safetensors", ValueSpace("zca", text="of somebody else"))
    with pytest.raises(RddInputError, match="has no ZCA constants"):
        save_zca(fit_space("pixels", images()), tmp_path / "none.safetensors")


def test_damaged_constants_are_refused(tmp_path):
    path = tmp_path / "zca.safetensors"
    save_zca(fit_space("zca", images(size=2, channels=1)), path)
    data = path.read_bytes()
    header_bytes = 8 + int.from_bytes(data[:8], "little")
    for position in [*range(0, header_bytes, 5), *range(header_bytes, len(data))]:
        flipped = bytearray(data)
        flipped[position] ^= 2
        path.write_bytes(flipped)
        try:
            found = load_zca(path).space
        except RddInputError as error:
            assert "zca.safetensors" in str(error)  # noqa: PT017 - a flip in a name that nobody reads is no damage
        else:
            assert position < header_bytes
            assert found == fit_space("zca", images(size=2, channels=1)).space
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(RddInputError, match="ZCA constants, or damaged"):
            load_zca(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, 2, 3]},
        {"shape": [3, 1 << 40, 1 << 40]},
        {"count": 1},
        {"count": 1 << 70},
        {"eps": 0},
        {"std": [0]},
        {"mean": [0.5, 0.5]},
        {"std": ["x"]},
        {"text": "another"},
    ],
)
def test_constants_that_do_not_fit_are_refused(tmp_path, change):
    path = tmp_path / "zca.safetensors"
    save_zca(fit_space("zca", images(size=2, channels=1)), path)
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    fields = json.loads(json.loads(data[8:start])["__metadata__"]["zca"])
    content = np.frombuffer(data[start:], "<i8")
    header = json.loads(data[8:start])
    tensors = {
        name: content[header[name]["data_offsets"][0] // 8 : header[name]["data_offsets"][1] // 8]
        for name in ("sums", "products")
    }
    path.write_bytes(save(tensors, metadata={"zca": json.dumps(fields)}))
    load_zca(path)
    path.write_bytes(save(tensors, metadata={"zca": json.dumps(fields | change)}))
    with pytest.raises(RddInputError, match="damaged"):
        load_zca(path)


def test_space_of_a_header(tmp_path):
    data = images()
    fitted = fit_space("standardised", data)
    stated = sample_space(fitted.space, 3)
    assert torch.equal(stated.forward(pixels(data)), fitted.forward(pixels(data)))
    assert sample_space(ValueSpace(), 3).space == ValueSpace()
    with pytest.raises(RddInputError, match="does not state"):
        sample_space(None, 3)
    with pytest.raises(RddInputError, match="needs the file of ZCA constants"):
        sample_space(ValueSpace("zca", text="mine"), 3)
    with pytest.raises(RddInputError, match="for images of 1 channels"):
        sample_space(fitted.space, 1)
    assert list(tmp_path.iterdir()) == []


def test_tensors_are_moved_to_a_device_once():
    space = fit_space("zca", images(size=2))
    assert space.to("cpu") is space
    there = space.to("meta")  # a device that every machine has
    assert there.whitening is not None
    assert there.whitening.device.type == there.mean.device.type == "meta"
    assert there.space == space.space
    assert space.to(torch.device("meta")) is there
    assert there.to("meta") is there
    assert space.forward(torch.zeros(2, 3, 2, 2, device="meta")).shape == (2, 3, 2, 2)
    assert space.to("meta") is there
