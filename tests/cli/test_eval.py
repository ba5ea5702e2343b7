"""`rdd eval` on the embedded digits, with trainings too short to be good."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rducodec
from tests.cli.command import pixels, refused, run

pytest.importorskip("torch")

from rducodec.data import load_digits

SHORT = ("--data", "digits", "--protocol", "digits", "--networks", "2", "--epochs", "4", "--set", "network.width=4")


def digits(folder: Path, *, per_class: int = 4, **fields: Any) -> Path:
    """A raw file of the first digits."""
    images, labels = load_digits()
    rows = np.concatenate([np.flatnonzero(labels == digit)[:per_class] for digit in range(10)])
    samples = np.rint(images[rows] * 16).astype(np.uint8)
    counts = rducodec.Labels(np.full(10, per_class))
    path = folder / "digits.rdd"
    space = {"space": rducodec.ValueSpace()} | fields
    path.write_bytes(rducodec.pack_raw(samples, counts, rducodec.RawConfig(False, 5, 16), **space))
    return path


def test_table_and_result_file(tmp_path):
    path, out = digits(tmp_path), tmp_path / "result.json"
    outcome = run("eval", path, *SHORT, "--out", out)
    assert outcome.code == 0, outcome
    assert "digits: 10 classes, 500 test images" in outcome.out
    assert "digits, epochs=4, network.width=4" in outcome.out
    assert f"{path.stat().st_size / 10 / 1024:.3f}" in outcome.out
    assert "2 networks each" in outcome.out
    document = json.loads(out.read_text())
    row = document["rows"][0]
    assert row["name"] == str(path)
    assert len(row["accuracies"]) == 2
    assert f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f} %" in outcome.out
    again = run("eval", path, *SHORT, "--json")
    assert again.json == document


def test_some_classes(tmp_path):
    images, labels = load_digits()
    rows = [np.flatnonzero(labels == digit)[:3] for digit in (7, 1)]
    samples = np.rint(images[np.concatenate(rows)] * 16).astype(np.uint8)
    path = tmp_path / "two.rdd"
    config, space = rducodec.RawConfig(False, 5, 16), rducodec.ValueSpace()
    path.write_bytes(rducodec.pack_raw(samples, rducodec.Labels(np.full(2, 3)), config, space=space))
    outcome = run("eval", path, *SHORT, "--classes", "7,1", "--json")
    assert outcome.code == 0, outcome
    assert outcome.json["data"]["num_classes"] == 2
    assert outcome.json["data"]["num_test"] == 100
    assert outcome.json["rows"][0]["mean"] > 0.6
    assert "the data has 10" in refused(7, "eval", path, *SHORT)
    assert "different numbers 0..9" in refused(7, "eval", path, *SHORT, "--classes", "7,7")
    assert "separated by commas" in refused(2, "eval", path, *SHORT, "--classes", "7;1")


def test_several_networks(tmp_path):
    outcome = run(
        "eval", digits(tmp_path), *SHORT[:4], "--epochs", "1", "--nets", "convnet,alexnet", "--networks", "1", "--json"
    )
    assert outcome.code == 0, outcome
    rows = outcome.json["rows"]
    assert [row["protocol"]["network"] for row in rows] == ["convnet", "alexnet"]
    assert [len(row["accuracies"]) for row in rows] == [1, 1]
    assert rows[0]["protocol"]["name"] == "digits, epochs=1"
    assert rows[1]["protocol"]["name"].startswith("digits, network=alexnet, Adam")


def test_rivals_take_no_more_bytes(tmp_path):
    path = digits(tmp_path, per_class=8)
    outcome = run("eval", path, *SHORT, "--baselines", "--json")
    assert outcome.code == 0, outcome
    rivals = [row for row in outcome.json["rows"] if row["kind"] == "real images"]
    names = [row["name"].removeprefix("real images, ") for row in rivals]
    assert len(names) == len(set(names)) == 5
    assert names[:3] == [".rdd, raw profile", "8-bit pixels", "PNG, one sheet a class"]
    assert all(row["bytes_per_class"] <= path.stat().st_size / 10 for row in rivals)
    (sizes,) = outcome.json["real_image_stores"]
    assert sizes["bytes_per_class"] == path.stat().st_size / 10
    assert len(sizes["stores"]) == 22  # six lossless ones, two of each of eight lossy ones
    counts = {store["name"]: store["num_per_class"] for store in sizes["stores"]}
    assert [row["num_samples"] / 10 for row in rivals] == [counts[name] for name in names]
    headers = [[remark for remark in row["remarks"] if "headers" in remark] for row in rivals]
    assert [len(remarks) for remarks in headers] == [1, 0, 1, 1, 1]  # plain pixels have none


def test_every_way_to_keep_real_images_is_printed(tmp_path):
    outcome = run("eval", digits(tmp_path), *SHORT, "--baselines")
    assert outcome.code == 0, outcome
    _, _, below = outcome.out.partition("kept as")
    lines = {line[: line.index("  ", 2)].strip(): line.split()[-2:] for line in below.splitlines()[1:]}
    assert len(lines) == 22
    assert lines["8-bit pixels"] == ["1", "0.062"]
    assert lines["JPEG quality 75, one file an image"] == ["none", "–"]


@pytest.fixture
def run_folder(tmp_path):
    """A folder as a training leaves it: other samples in the compressed file than in the distilled one."""
    folder = tmp_path / "run"
    for name, per_class in (("overfitted", 3), ("distilled", 2)):
        (folder / name).mkdir(parents=True)
        digits(folder / name, per_class=per_class).rename(folder / f"{name}.rdd")
    (folder / "run.json").write_text("{}")
    return folder


def file_rows(*files):
    """Rows of files in an evaluation with rivals, and all that it said."""
    outcome = run("eval", *files, *SHORT, "--networks", "1", "--baselines", "--json")
    assert outcome.code == 0, outcome
    return [row for row in outcome.json["rows"] if row["kind"] == "file"], outcome


def test_what_a_run_started_from_is_a_rival_of_its_file(run_folder):
    distilled, overfitted = run_folder / "distilled.rdd", run_folder / "overfitted.rdd"
    rows, outcome = file_rows(distilled)
    assert [row["name"] for row in rows] == [str(distilled), str(overfitted)]
    beside = f"compressed real images that {distilled} was distilled from, taken from beside it"
    excess = overfitted.stat().st_size / distilled.stat().st_size - 1
    assert rows[1]["remarks"] == [beside, f"it takes {100 * excess:.1f}% more bytes than that file"]
    assert len(outcome.json["real_image_stores"]) == 1  # real images are kept in the bytes of the distilled file only
    other = distilled.rename(run_folder / "other.rdd")
    assert [row["name"] for row in file_rows(other)[0]] == [str(other)]  # nothing says that it is of this run


def test_a_rival_of_fewer_bytes_has_no_remark_on_them(run_folder):
    distilled, overfitted = run_folder / "distilled.rdd", run_folder / "overfitted.rdd"
    distilled.rename(run_folder / "small.rdd")
    overfitted.rename(distilled)
    (run_folder / "small.rdd").rename(overfitted)
    rows, _ = file_rows(distilled)
    assert [row["name"] for row in rows] == [str(distilled), str(overfitted)]
    assert len(rows[1]["remarks"]) == 1


def test_a_rival_that_is_among_the_files_is_not_taken_again(run_folder):
    distilled, overfitted = run_folder / "distilled.rdd", run_folder / "overfitted.rdd"
    copy = run_folder.parent / "copy.rdd"
    shutil.copyfile(overfitted, copy)
    assert [row["name"] for row in file_rows(distilled, copy)[0]] == [str(distilled), str(copy)]
    assert [row["name"] for row in file_rows(overfitted)[0]] == [str(overfitted)]


def test_a_file_beside_that_is_damaged_or_of_no_run_is_not_taken(run_folder):
    distilled, overfitted = run_folder / "distilled.rdd", run_folder / "overfitted.rdd"
    torn = overfitted.read_bytes()[:-1]
    overfitted.write_bytes(torn)
    rows, outcome = file_rows(distilled)
    assert len(rows) == 1
    assert f"note: {overfitted}: not taken as a rival: " in outcome.err
    (run_folder / "run.json").unlink()
    rows, outcome = file_rows(distilled)
    assert len(rows) == 1
    assert "not taken" not in outcome.err


def test_without_baselines_nothing_is_taken_from_beside_a_file(run_folder):
    outcome = run("eval", run_folder / "distilled.rdd", *SHORT, "--json")
    assert len(outcome.json["rows"]) == 1
    assert outcome.err == ""


def test_the_training_of_plain_pixels_is_told_unless_it_is_there(tmp_path):
    from rducodec.training.distillation import read_configuration

    path = digits(tmp_path, per_class=6)
    outcome = run("eval", path, *SHORT, "--baselines", "--json")
    (line,) = [each for each in outcome.err.splitlines() if "plain pixels" in each]
    command, _, sizes = line.partition("a training: ")[2].partition("; ")
    words = shlex.split(command.replace("spc=N", "spc=3"))
    assert words[:4] == ["rdd", "train", "CONFIG", "FOLDER"]
    samples = read_configuration("digits", [word for word in words[4:] if word != "--set"]).samples
    assert (samples.parameterization, samples.spc) == ("pixels", 3)
    assert path.stat().st_size // 10 == 159  # 2.5 digits of 64 bytes
    assert sizes == "0.156 kB hold about 1 as float16 or 2 as 8 bits"
    made = tmp_path / "plain"
    made.mkdir()
    pixels_file = digits(made, texts=rducodec.Texts(recipe={"loss": "dm"}))
    outcome = run("eval", pixels_file, *SHORT, "--baselines", "--json")
    assert outcome.code == 0, outcome
    assert "plain pixels" not in outcome.err


def test_plain_pixels_are_trained_beside_a_run(tmp_path):
    changes = ["joint.iterations=2", "initial.steps=10", "samples.spc=4", "utility.options.real_batch=8"]
    changes += ["utility.network_options.width=4", "export.target_bpc=0.3"]
    folder = tmp_path / "run"
    assert run("train", "digits", folder, *(word for change in changes for word in ("--set", change))).code == 0
    file = folder / "distilled.rdd"
    told = run("eval", file, *SHORT, "--baselines", "--json")
    assert "--pixels float16,8-bits,2-bits" in told.err
    assert not list(folder.glob("pixels-*"))
    outcome = run(
        "eval", file, *SHORT, "--pixels", "float32, 2-bits", "--pixels-set", "joint.learning_rate=1e-2", "--json"
    )
    assert outcome.code == 0, outcome
    names = [Path(row["name"]).relative_to(folder).as_posix() for row in outcome.json["rows"]]
    (two_bits,) = (path.name for path in folder.glob("pixels-2-bits-*"))
    assert names == ["distilled.rdd", f"{two_bits}/distilled.rdd"]
    assert outcome.json["rows"][1]["bytes_per_class"] <= outcome.json["rows"][0]["bytes_per_class"]
    assert outcome.json["rows"][1]["remarks"][-1].startswith("the same loss on plain pixels, as 2 bits")
    assert "not one sample a class fits as float32" in outcome.err
    assert "not compared" not in outcome.err
    message = refused(7, "eval", folder / two_bits / "distilled.rdd", *SHORT, "--pixels", "8-bits")
    assert "or is of plain pixels itself" in message
    only = run("eval", file, *SHORT, "--pixels", "float32", "--json")
    assert only.code == 0, "a note is enough where not one fits"
    assert len(only.json["rows"]) == 1
    renamed = ("--classes", "1,0,2,3,4,5,6,7,8,9")
    assert "made with data.classes = ()" in refused(7, "eval", file, *SHORT, "--pixels", "8-bits", *renamed)
    assert "plain pixels as '3 bits'" in refused(7, "eval", file, *SHORT, "--pixels", "3-bits")
    assert "--pixels-set has no meaning" in refused(2, "eval", file, *SHORT, "--pixels-set", "joint.iterations=3")
    moved = shutil.copy(file, tmp_path / "moved.rdd")
    assert "not the distilled file of a run" in refused(7, "eval", moved, *SHORT, "--pixels", "8-bits")


def test_a_classifier_that_diverges_is_refused(tmp_path):
    path = digits(tmp_path)
    message = refused(7, "eval", path, *SHORT, "--set", "learning_rate=1e30")
    assert message.startswith(f"{path}: protocol digits, ")
    assert "diverged" in message
    assert "--set learning_rate=" in message


def test_no_rival_is_small_enough(tmp_path):
    samples, labels = np.zeros((10, 1, 8, 8), np.uint8), rducodec.Labels(np.ones(10, np.int64))
    path = tmp_path / "tiny.rdd"
    path.write_bytes(rducodec.pack_raw(samples, labels, rducodec.RawConfig(False, 1, 1), space=rducodec.ValueSpace()))
    outcome = run("eval", path, *SHORT, "--baselines", "--json")
    assert outcome.code == 0, outcome
    assert len(outcome.json["rows"]) == 1
    assert "not one real image a class fits" in outcome.err


def test_all_images_without_a_file():
    outcome = run("eval", *SHORT, "--full-data", "--full-epochs", "1", "--json")
    assert outcome.code == 0, outcome
    (row,) = outcome.json["rows"]
    assert (row["kind"], row["num_samples"], row["file"]) == ("all real images", 1240, None)
    assert row["protocol"]["name"] == "digits, epochs=4, network.width=4, full_epochs=1"


def test_classes_are_matched_by_name(tmp_path):
    names = tuple("1234567890")
    outcome = run("eval", digits(tmp_path, texts=rducodec.Texts(class_names=names)), *SHORT)
    assert outcome.code == 0, outcome
    assert "matched by name" in outcome.err


def test_what_has_no_effect_or_is_unknown_is_refused(tmp_path):
    path = digits(tmp_path)
    assert "Missing FILE" in refused(2, "eval", *SHORT)
    assert "--data" in refused(2, "eval", path)
    assert "--full-epochs has no meaning" in refused(2, "eval", path, *SHORT, "--full-epochs", "3")
    assert "--baselines has no meaning" in refused(2, "eval", *SHORT, "--full-data", "--baselines")
    assert "expected one of mtt-convnet" in refused(7, "eval", path, "--data", "digits", "--protocol", "best")
    assert "network 'gpt'" in refused(7, "eval", path, *SHORT[:4], "--nets", "convnet,gpt")
    assert "no value 'depth'" in refused(7, "eval", path, *SHORT, "--set", "depth=3")
    assert "data 'nist'" in refused(7, "eval", path, "--data", "nist")
    assert "--device" in refused(2, "eval", path, *SHORT, "--device", "abacus")
    assert "holds no numbers" in refused(2, "eval", path, *SHORT, "--device", "meta")


def test_what_does_not_fit_the_data_names_the_file(tmp_path):
    path, _ = pixels(tmp_path)
    message = refused(7, "eval", path, *SHORT)
    assert message.startswith(f"{path}: samples of 3 x 6 x 4")
    unstated = digits(tmp_path, space=None)
    assert refused(7, "eval", unstated, *SHORT).startswith(f"{unstated}: space: it is not stated")
    assert run("eval", unstated, *SHORT, "--space", "pixels").code == 0
    assert "both input and output" in refused(6, "eval", unstated, *SHORT, "--out", unstated)
    assert refused(6, "eval", tmp_path / "no.rdd", *SHORT).endswith("No such file or directory")


def test_a_damaged_file_ends_with_its_own_code(tmp_path):
    path = digits(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert refused(3, "eval", path, *SHORT).startswith(f"{path}: ")


def test_without_torch(tmp_path, monkeypatch):
    path = digits(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "rducodec[train]" in refused(4, "eval", path, *SHORT)
