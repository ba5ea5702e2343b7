from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rducodec
from rducodec_cli.encode import Item
from tests.cli.command import refused, run


def image_folder(root: Path, *, channels: int = 3) -> np.ndarray:
    """Two images of a wren, three of an owl; returned in the order of the classes: owl, wren."""
    samples = np.random.default_rng(0).integers(0, 256, (5, channels, 4, 6)).astype(np.uint8)
    for number, pixels in enumerate(samples):
        name = "owl" if number < 3 else "wren"
        (root / name).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels[0] if channels == 1 else np.moveaxis(pixels, 0, 2))
        image.save(root / name / f"{number}.png")
    return samples


def tensor_file(path: Path, samples: np.ndarray, labels: list[int]) -> Path:
    np.savez(path, samples=samples, labels=np.array(labels))
    return path


def test_raw_folder_is_lossless(tmp_path):
    samples = image_folder(tmp_path / "birds")
    outcome = run("encode", tmp_path / "birds", tmp_path / "a.rdd", "--profile", "raw")
    assert outcome.code == 0, outcome
    assert "5 samples, 2 classes, lossless" in outcome.out
    dataset = rducodec.read(tmp_path / "a.rdd")
    assert np.array_equal(dataset.stored_samples(), samples)
    assert dataset.config == rducodec.RawConfig(False, 8, 255)
    assert dataset.header.texts.class_names == ("owl", "wren")
    assert dataset.header.space == rducodec.ValueSpace()


def test_round_trip_through_a_folder_gives_the_same_file(tmp_path):
    image_folder(tmp_path / "birds")
    run("encode", tmp_path / "birds", tmp_path / "a.rdd", "--profile", "raw")
    run("decode", tmp_path / "a.rdd", tmp_path / "again")
    run("encode", tmp_path / "again", tmp_path / "b.rdd", "--profile", "raw")
    assert (tmp_path / "a.rdd").read_bytes() == (tmp_path / "b.rdd").read_bytes()


def test_round_trip_through_tensors_keeps_the_space(tmp_path):
    samples = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32)
    source = tensor_file(tmp_path / "a.npz", samples, [0, 0, 1, 1])
    space = "standardised:mean=0.5,std=0.25"
    assert run("encode", source, tmp_path / "a.rdd", "--profile", "raw", "--space", space).code == 0
    run("decode", tmp_path / "a.rdd", tmp_path / "b.npz")
    assert run("encode", tmp_path / "b.npz", tmp_path / "b.rdd", "--profile", "raw").code == 0
    assert (tmp_path / "a.rdd").read_bytes() == (tmp_path / "b.rdd").read_bytes()


def test_bits_quantise_a_float_set(tmp_path):
    samples = np.random.default_rng(0).normal(size=(4, 1, 6, 6)).astype(np.float32)
    source = tensor_file(tmp_path / "a.npz", samples, [0, 0, 1, 1])
    arguments = [source, tmp_path / "a.rdd", "--profile", "raw", "--space", "other:noise", "--bits", 2, "--json"]
    outcome = run("encode", *arguments)
    assert outcome.code == 0, outcome
    decoded = rducodec.read(tmp_path / "a.rdd").samples()
    assert [len(np.unique(part)) for part in (decoded[:2], decoded[2:])] == [4, 4]
    found = json.loads(outcome.out)
    assert found["mse"] == pytest.approx(float(np.square(decoded.astype(np.float64) - samples).mean()))
    assert found["psnr"] == pytest.approx(-10 * np.log10(found["mse"]))
    assert "at most 4 values a slice" in run("inspect", tmp_path / "a.rdd").out


def test_bits_have_no_meaning_in_the_latent_profile(tmp_path):
    image_folder(tmp_path / "birds")
    message = refused(2, "encode", tmp_path / "birds", tmp_path / "a.rdd", "--bits", 2)
    assert "--bits has no meaning without --profile raw" in message


def test_notes_about_the_source_do_not_disturb_the_json(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1, 2, 2), np.uint8), y=2 * np.eye(2))
    assert "--hard-labels" in refused(7, "encode", tmp_path / "a.npz", tmp_path / "a.rdd", "--profile", "raw")
    outcome = run("encode", tmp_path / "a.npz", tmp_path / "a.rdd", "--profile", "raw", "--hard-labels", "--json")
    assert outcome.json["num_samples"] == 2
    assert outcome.err == "note: soft labels of 2 numbers each: only the largest one is kept\n"


SOFT = np.random.default_rng(8).dirichlet([0.5] * 3, 6)


def soft_file(path: Path, labels: np.ndarray = SOFT) -> Path:
    np.savez(path, x=np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2), y=labels)
    return path


def test_soft_labels_are_kept_within_an_error(tmp_path):
    source = soft_file(tmp_path / "a.npz")
    for arguments, error in (([], 2**-8), (["--label-error", "0.01"], 0.01), (["--label-error", "1e-6"], 1e-6)):
        found = run("encode", source, tmp_path / "a.rdd", "--profile", "raw", "--keep-order", "--json", *arguments).json
        dataset = rducodec.read(tmp_path / "a.rdd")
        assert dataset.labels.tolist() == SOFT.argmax(axis=1).tolist()
        assert dataset.label_counts is not None
        assert np.abs(dataset.label_counts / found["soft_labels"]["total"] - SOFT).max() <= error
        assert found["soft_labels"]["error"] <= error
        assert found["soft_labels"]["total"] == dataset.label_total


def test_soft_labels_within_a_number_of_bits(tmp_path):
    source = soft_file(tmp_path / "a.npz")
    found = run("encode", source, tmp_path / "a.rdd", "--profile", "raw", "--label-bits", 40, "--json").json
    finer = run("encode", source, tmp_path / "b.rdd", "--profile", "raw", "--label-bits", 60, "--json").json
    assert found["soft_labels"]["bits_per_label"] <= 40
    assert found["soft_labels"]["total"] < finer["soft_labels"]["total"]
    assert "at least" in refused(7, "encode", source, tmp_path / "c.rdd", "--profile", "raw", "--label-bits", 0.5)


def test_largest_of_soft_labels(tmp_path):
    source = soft_file(tmp_path / "a.npz")
    outcome = run("encode", source, tmp_path / "a.rdd", "--profile", "raw", "--label-top", 2, "--keep-order")
    assert outcome.err == "note: of each soft label the 2 largest are kept, scaled to 1\n"
    decoded = rducodec.read(tmp_path / "a.rdd").soft_labels
    assert decoded is not None
    kept = np.where(SOFT.min(axis=1, keepdims=True) < SOFT, SOFT, 0)
    assert np.abs(decoded - kept / kept.sum(axis=1, keepdims=True)).max() <= 2**-8


def test_soft_labels_come_back(tmp_path):
    run("encode", soft_file(tmp_path / "a.npz"), tmp_path / "a.rdd", "--profile", "raw", "--keep-order")
    first = rducodec.read(tmp_path / "a.rdd")
    for suffix in (".npz", ".safetensors"):
        back = tmp_path / f"back{suffix}"
        assert run("decode", tmp_path / "a.rdd", back).code == 0
        assert run("encode", back, tmp_path / "b.rdd", "--profile", "raw", "--keep-order").code == 0
        again = rducodec.read(tmp_path / "b.rdd")
        assert again.label_counts is not None
        assert first.label_counts is not None
        assert np.array_equal(again.label_counts, first.label_counts)
        assert again.labels.tolist() == first.labels.tolist()
    outcome = run("encode", back, tmp_path / "c.rdd", "--profile", "raw", "--hard-labels")
    assert outcome.err == "note: soft labels of 3 numbers each: only the class beside them is kept\n"
    assert rducodec.read(tmp_path / "c.rdd").soft_labels is None
    outcome = run("decode", tmp_path / "a.rdd", tmp_path / "images")
    assert outcome.err == "note: layout imagefolder has no place for the soft labels of the file: classes only\n"


def test_options_of_soft_labels_without_any(tmp_path):
    image_folder(tmp_path / "birds", channels=1)
    for option in ("--label-error", "--label-bits", "--label-top"):
        arguments = ("encode", tmp_path / "birds", tmp_path / "a.rdd", "--profile", "raw", option, 1)
        assert f"{option} has no meaning without soft labels" in refused(2, *arguments)
    both = ("--label-error", 0.1, "--label-bits", 9)
    assert "one of them" in refused(2, "encode", tmp_path / "birds", tmp_path / "a.rdd", *both)
    assert "temperature" in refused(
        7,
        "encode",
        soft_file(tmp_path / "a.npz", np.arange(6) % 3),
        tmp_path / "a.rdd",
        "--profile",
        "raw",
        "--temperature",
        1,
    )


def test_texts_and_json(tmp_path):
    image_folder(tmp_path / "birds", channels=1)
    arguments = ["--name", "Birds", "--licence", "CC0", "--origin", "a field", "--recipe", "lr=0.01"]
    arguments += ["--recipe", "epochs=300", "--recipe", "aug=none", "--profile", "raw", "--json"]
    found = run("encode", tmp_path / "birds", tmp_path / "a.rdd", *arguments).json
    texts = rducodec.read(tmp_path / "a.rdd").header.texts
    assert (texts.name, texts.licence, texts.source) == ("Birds", "CC0", "a field")
    assert texts.recipe == {"aug": "none", "epochs": 300, "lr": 0.01}
    assert found["file_bits"] == 8 * (tmp_path / "a.rdd").stat().st_size
    assert found["mse"] == 0
    assert found["psnr"] is None
    assert found["num_samples"] == 5


def test_spc_slices_and_order(tmp_path):
    samples = np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2)
    source = tensor_file(tmp_path / "a.npz", samples, [1, 0, 1, 1, 0, 1])
    arguments = ["--profile", "raw", "--spc", 3, "--slice-size", 2, "--keep-order", "--class-names", "a, b, c"]
    assert run("encode", source, tmp_path / "a.rdd", *arguments).code == 0
    dataset = rducodec.read(tmp_path / "a.rdd")
    assert dataset.labels.tolist() == [1, 0, 1, 1, 0]
    assert np.array_equal(dataset.stored_samples(), samples[:5])
    assert dataset.header.slice_sizes == (2, 2, 1)
    assert dataset.label_set.counts.tolist() == [2, 3, 0]


def test_space_is_asked_for(tmp_path):
    source = tensor_file(tmp_path / "a.npz", np.zeros((2, 1, 2, 2), np.float32), [0, 1])
    message = refused(7, "encode", source, tmp_path / "a.rdd", "--profile", "raw")
    assert "--space" in message
    assert not (tmp_path / "a.rdd").exists()


def test_space_that_is_none(tmp_path):
    source = tensor_file(tmp_path / "a.npz", np.zeros((2, 1, 2, 2), np.float32), [0, 1])
    assert "expected pixels, " in refused(7, "encode", source, tmp_path / "a.rdd", "--space", "pixel")


def test_options_without_effect_are_refused(tmp_path):
    image_folder(tmp_path / "birds")
    message = refused(2, "encode", tmp_path / "birds", tmp_path / "a.rdd", "--profile", "raw", "--steps", 100)
    assert "--steps has no meaning with --profile raw" in message
    message = refused(2, "encode", tmp_path / "birds", tmp_path / "a.rdd", "--move-latents")
    assert "--move-latents has no meaning without a published checkpoint" in message


def test_latents_of_a_checkpoint_move_when_asked(tmp_path):
    checkpoints = pytest.importorskip("tests.interop.checkpoints")
    path = checkpoints.write_pool(tmp_path / "pool.pt", {"0_0": checkpoints.pool_tensors()})
    sizes, latents = [], []
    for more in ((), ("--move-latents",)):
        outcome = run("encode", path, tmp_path / "a.rdd", "--max-mse", 1e-2, "--json", *more)
        assert outcome.code == 0, outcome
        assert 0 < outcome.json["mse"] <= 1e-2
        dataset = rducodec.read(tmp_path / "a.rdd")
        sizes.append(dataset.container.num_bytes)
        latents.append(np.concatenate([grid.reshape(-1) for grid in dataset.latent_slices()[0].latents]))
    assert sizes[1] < sizes[0]
    assert (latents[0] != latents[1]).any()


def test_output_is_checked_before_the_work(tmp_path):
    assert "its folder does not exist" in refused(6, "encode", tmp_path, tmp_path / "no" / "a.rdd")
    (tmp_path / "a.npz").write_bytes(b"")
    assert "both input and output" in refused(6, "encode", tmp_path / "a.npz", tmp_path / "a.npz")


def test_missing_source(tmp_path):
    message = refused(6, "encode", tmp_path / "nowhere", tmp_path / "a.rdd")
    assert message == f"{tmp_path / 'nowhere'}: No such file or directory"


def test_class_folder_whose_name_a_file_cannot_hold(tmp_path):
    image_folder(tmp_path / "birds")
    (tmp_path / "birds" / "owl").rename(tmp_path / "birds" / "owl?")
    assert "cannot be a folder name" in refused(7, "encode", tmp_path / "birds", tmp_path / "a.rdd")


@pytest.mark.parametrize("text", ["v4-41", "", "0", "1,", "-1", "70000", ",".join("1" * 9)])
def test_decoders_that_do_not_exist(tmp_path, text):
    assert "--decoder" in refused(2, "encode", tmp_path, tmp_path / "a.rdd", "--decoder", text)


@pytest.mark.parametrize("text", ["", "0", "32x", "32x0", "-1", "3 x 3", "100000"])
def test_sizes_that_do_not_exist(tmp_path, text):
    assert "--size" in refused(2, "encode", tmp_path, tmp_path / "a.rdd", "--size", text)


@pytest.mark.parametrize("text", ["16", "16x5", "12x2", "16x-1", "x", "16 x 2"])
def test_entropy_networks_that_do_not_exist(tmp_path, text):
    assert "--entropy" in refused(2, "encode", tmp_path, tmp_path / "a.rdd", "--entropy", text)


@pytest.mark.parametrize(("text", "item"), [("a=1", ("a", 1)), ("a=1e-2", ("a", 0.01)), ("a=b=c", ("a", "b=c"))])
def test_recipe_items(text, item):
    key, value = Item().convert(text, None, None)
    assert (key, value) == item
    assert type(value) is type(item[1])


@pytest.mark.parametrize("text", ["a", "=1", "a="])
def test_recipe_items_that_are_none(tmp_path, text):
    assert "KEY=VALUE" in refused(2, "encode", tmp_path, tmp_path / "a.rdd", "--recipe", text)


def test_recipe_that_a_file_cannot_hold(tmp_path):
    image_folder(tmp_path / "birds")
    arguments = [tmp_path / "birds", tmp_path / "a.rdd", "--profile", "raw", "--recipe", "lr=nan"]
    assert "finite" in refused(7, "encode", *arguments)


def test_latent_without_torch(tmp_path, monkeypatch):
    image_folder(tmp_path / "birds")
    monkeypatch.setitem(__import__("sys").modules, "rducodec.training", None)
    assert "rducodec[train]" in refused(4, "encode", tmp_path / "birds", tmp_path / "a.rdd")


def latent_arguments(*more: object) -> list[object]:
    return ["--decoder", "4", "--entropy", "8x1", "--steps", 30, *more]


def test_latent_folder(tmp_path):
    pytest.importorskip("torch")
    image_folder(tmp_path / "birds")
    outcome = run("encode", tmp_path / "birds", tmp_path / "a.rdd", *latent_arguments("--slice-size", 2, "--json"))
    assert outcome.code == 0, outcome
    dataset = rducodec.read(tmp_path / "a.rdd")
    assert dataset.header.slice_sizes == (2, 1, 2)
    assert dataset.header.texts.class_names == ("owl", "wren")
    pixels = rducodec.bpc(dataset)
    assert outcome.json["parts"] == pixels.parts
    samples = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6)) / 255
    assert outcome.json["mse"] == pytest.approx(np.square(dataset.samples() - samples).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--max-mse", "setting max_mse: 0.0, expected a positive number"),
        ("--lmbda", "setting lmbda: 0.0, expected a positive number"),
    ],
)
def test_zero_is_not_the_default(tmp_path, option, message):
    pytest.importorskip("torch")
    image_folder(tmp_path / "birds")
    assert refused(7, "encode", tmp_path / "birds", tmp_path / "a.rdd", *latent_arguments(option, 0)) == message


@pytest.mark.parametrize("device", ["", "abacus", "numpy"])
def test_devices_that_do_not_exist(tmp_path, device):
    pytest.importorskip("torch")
    image_folder(tmp_path / "birds")
    arguments = latent_arguments("--device", device)
    assert "--device" in refused(2, "encode", tmp_path / "birds", tmp_path / "a.rdd", *arguments)


def test_latent_keeps_the_order_of_the_source(tmp_path):
    pytest.importorskip("torch")
    values = np.linspace(0, 1, 4, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 4, 4), np.float32)
    source = tensor_file(tmp_path / "a.npz", values, [1, 0, 1, 0])
    arguments = latent_arguments("--space", "pixels", "--keep-order", "--json")
    outcome = run("encode", source, tmp_path / "a.rdd", *arguments)
    dataset = rducodec.read(tmp_path / "a.rdd")
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert outcome.json["mse"] == pytest.approx(np.square(dataset.samples() - values).mean(), rel=1e-5)


def test_target_that_the_header_alone_exceeds(tmp_path):
    pytest.importorskip("torch")
    image_folder(tmp_path / "birds")
    arguments = latent_arguments("--target-bpc", 0.001)
    assert "header, labels and framing" in refused(7, "encode", tmp_path / "birds", tmp_path / "a.rdd", *arguments)


def test_target_is_the_size_of_the_file(tmp_path):
    pytest.importorskip("torch")
    image_folder(tmp_path / "birds")
    arguments = latent_arguments("--target-bpc", 0.5, "--max-mse", 0.01, "--json")
    outcome = run("encode", tmp_path / "birds", tmp_path / "a.rdd", *arguments)
    assert outcome.code == 0, outcome
    assert outcome.json["bpc_kb"] <= 0.53
