from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import rducodec
from rducodec import RddInputError, RddIOError, ValueSpace
from rducodec.counting import count, count_file
from rducodec.counting.files import LATENT_FILE, ON_DISK, RAW_FILE
from rducodec.counting.pool import count_pool
from rducodec.encoder import encode_pool, encode_raw_source
from rducodec.interop import find_pool, make_source, read_source
from rducodec.quantization import float_samples
from tests.cli.command import latent, pixels
from tests.interop.checkpoints import pool_tensors, write_pool
from tests.interop.layouts.common import save

SPACE = ValueSpace("other", text="noise")


def npz(path):
    samples = np.random.default_rng(5).normal(size=(5, 3, 6, 4)).astype(np.float32)
    np.savez(path, images=samples, labels=np.array([0, 0, 2, 2, 2]))
    return path


def test_rdd_is_the_whole_file(tmp_path):
    for path in (latent(tmp_path), pixels(tmp_path)[0]):
        found = count_file(path)
        assert found.as_published is None
        assert found.rate == rducodec.bpc(path)
        assert set(found.complete) == {ON_DISK}
        assert found.complete[ON_DISK].bits_per_class == Fraction(8 * path.stat().st_size, 3)
        assert (found.num_classes, found.num_samples) == (3, 5)


def test_tensors_are_float_pixels_and_bytes(tmp_path):
    path = npz(tmp_path / "set.npz")
    found = count_file(path, space=SPACE)
    assert found.as_published is not None
    assert found.as_published.bits_per_class == 5 * 3 * 6 * 4 * 32 // 3
    assert "B = 72" in found.as_published.worked()
    assert found.complete[ON_DISK].bits_per_class == Fraction(8 * path.stat().st_size, 3)
    raw = len(encode_raw_source(read_source(path, space=SPACE)))
    assert found.complete[RAW_FILE].bits_per_class == Fraction(8 * raw, 3)


def test_classes_without_samples_count(tmp_path):
    found = count_file(npz(tmp_path / "set.npz"), space=SPACE, num_classes=10)
    assert found.as_published is not None
    assert found.num_classes == 10
    assert found.as_published.bits_per_class == 5 * 72 * 32 // 10


@pytest.mark.skipif(sys.platform == "win32", reason="a name with a dot is not hidden there")
def test_folder_is_its_visible_images(tmp_path):
    folder = tmp_path / "set"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(folder / name / "0.png")
    (folder / ".hidden").write_bytes(bytes(1000))
    found = count_file(folder)
    assert found.as_published is not None
    assert found.as_published.bits_per_class == 48 * 32
    on_disk = sum((folder / name / "0.png").stat().st_size for name in ("cat", "dog"))
    assert found.complete[ON_DISK].bits_per_class == 4 * on_disk


def test_rdd_states_its_own_space(tmp_path):
    with pytest.raises(RddInputError, match="its own space"):
        count_file(latent(tmp_path), space=SPACE)


def test_missing_file(tmp_path):
    with pytest.raises(RddIOError):
        count_file(tmp_path / "none.rdd")
    with pytest.raises(RddIOError):
        count_file(tmp_path / "none.npz")


def tensors_of(path, **said):
    return count_file(path, space=SPACE, **said)


def test_frepo_counts_its_labels(tmp_path):
    images = np.zeros((4, 8, 8, 3), np.float32)
    np.savez(tmp_path / "a.npz", image=images, label=np.eye(4, dtype=np.float32) - 0.25)
    found = tensors_of(tmp_path / "a.npz")  # nothing is lost by counting
    assert "no probabilities: only the largest one is kept" in found.remarks[0]
    assert found.as_published is not None
    assert found.as_published.bits_per_class == count("frepo", {"classes": 4, "size": 8, "ipc": 1}).bits_per_class


def test_haba_counts_base_images_and_styles(tmp_path):
    styles: dict[str, np.ndarray] = {}
    for number in range(5):
        shapes = {"enc.weight": (3, 3, 3, 3), "enc.bias": (3,), "scale": (1, 3, 6, 6), "shift": (1, 3, 6, 6)}
        shapes |= {"dec.weight": (3, 3, 3, 3), "dec.bias": (3,)}
        styles |= {f"{number}.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save(tmp_path / "images_best.pt", np.zeros((20, 3, 8, 8), np.float32))
    save(tmp_path / "weights_best.pt", styles)
    found = tensors_of(tmp_path, num_classes=10)
    assert found.num_samples == 100
    assert found.as_published is not None
    rule = count("haba", {"classes": 10, "size": 8, "ipc": 2, "styles": 5})
    assert found.as_published.bits_per_class == rule.bits_per_class
    on_disk = sum((tmp_path / name).stat().st_size for name in ("images_best.pt", "weights_best.pt"))
    assert found.complete[ON_DISK].numbers["bytes"] == on_disk


def test_ddif_counts_its_networks(tmp_path):
    shapes: dict[str, tuple[int, ...]] = {
        "net.0.linear": (20, 2),
        "net.1.linear": (20, 20),
        "net.2.linear": (20, 20),
        "last_layer.linear": (3, 20),
    }
    state: dict[str, np.ndarray] = {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    state |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    save(tmp_path / "a.pt", {"nf": [state] * 30, "label": np.arange(30) % 2})
    found = tensors_of(tmp_path / "a.pt", size=(8, 8), w0=10.0)
    assert found.as_published is not None
    assert found.as_published.bits_per_class == 462_240


def test_fred_counts_coefficients_and_mask(tmp_path):
    mask = np.zeros((2, 3, 32, 32), np.float32)
    mask[:, :, :2] = 1
    save(tmp_path / "images_best.pt", np.zeros((32, 3, 32, 32), np.float32))
    save(tmp_path / "labels_best.pt", np.arange(32) % 2)
    save(tmp_path / "mask.pt", mask)
    found = tensors_of(tmp_path)
    assert found.as_published is not None
    rule = count("fred", {"size": 32, "ipc": 1, "coefficients": 64})
    assert float(found.as_published.bits_per_class or 0) == pytest.approx(float(rule.bits_per_class or 0))
    mask[0, 0, 5, 5] = 1  # not the same number everywhere
    save(tmp_path / "mask.pt", mask)
    found = tensors_of(tmp_path)
    assert found.as_published is not None
    assert found.as_published.method == "pixels"
    assert "counted as the pixels" in found.remarks[-1]


def test_idc_counts_what_it_stores(tmp_path):
    save(tmp_path / "data.pt", [np.zeros((10, 3, 8, 8), np.float32), np.arange(10)])
    found = tensors_of(tmp_path, factor=2)
    assert found.num_samples == 40
    assert found.as_published is not None
    assert found.as_published.bits_per_class == 32 * 3 * 64


def test_latent_file_is_trained_where_it_is_asked_for(tmp_path):
    found = count_file(npz(tmp_path / "a.npz"), space=SPACE, latent_steps=10)
    assert set(found.complete) == {ON_DISK, RAW_FILE, LATENT_FILE}
    assert "PSNR in dB" in found.complete[LATENT_FILE].numbers


def test_checkpoint_counts_by_estimate_and_as_files(tmp_path):
    path = write_pool(tmp_path / "pool.pt", {"0_0": pool_tensors(), "1_0": pool_tensors(seed=1)})
    told: list[float] = []
    found = count_file(path, num_classes=3, progress=told.append)
    assert sum(told) == pytest.approx(1)
    assert found.as_published is not None
    pool = find_pool(path)
    assert pool is not None
    assert found.as_published == count_pool(pool, num_classes=3)
    data, _ = encode_pool(pool, num_classes=3)
    assert found.complete[LATENT_FILE].numbers["bytes"] == len(data)
    assert found.complete[ON_DISK].numbers["bytes"] == path.stat().st_size
    samples = np.concatenate([float_samples(part, pool.config) for part in pool.slices])
    raw = make_source(samples, rducodec.read(data).labels, space=ValueSpace(), num_classes=3)
    assert found.complete[RAW_FILE].numbers["bytes"] == len(encode_raw_source(raw))
    with pytest.raises(RddInputError, match="factor has no meaning with a published checkpoint"):
        count_file(path, factor=2)


def test_the_first_of_several_experiments_can_be_meant(tmp_path):
    pairs = [[np.full((2, 3, 4, 4), value, np.float32), np.arange(2)] for value in (0, 1)]
    save(tmp_path / "res_DM_CIFAR10_ConvNet_1ipc.pt", {"data": pairs, "accs_all_exps": {}})
    found = count_file(tmp_path / "res_DM_CIFAR10_ConvNet_1ipc.pt", experiment=0)
    assert found.as_published is not None
    assert found.as_published.method == "dc"
