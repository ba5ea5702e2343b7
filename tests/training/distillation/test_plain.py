"""The same loss on plain pixels: as many samples as the bytes of a run's file hold, trained in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rducodec.errors import RddInputError
from rducodec.reader import read
from rducodec.training.distillation.folder import RUN_FILE, configuration_of_run
from rducodec.training.distillation.plain import PlainPixels
from rducodec.training.distillation.run import Reports
from tests.training.distillation.small import configuration, digits, distil

GM: dict[str, Any] = {
    "utility__loss": "gm",
    "utility__options": {"real_batch": 6, "inner_steps": 4, "network_steps": 2},
    "samples__soft_labels": True,
}


@pytest.mark.parametrize("number", ["float32", "float16", "8 bits", "2 bits"])
def test_hardly_a_sample_more_would_fit(tmp_path: Path, number: str) -> None:
    max_bytes = 1500
    made = PlainPixels(configuration(), digits(2), tmp_path, max_bytes).made(number)
    assert made is not None
    num_bytes = made.stat().st_size
    samples = read(made).header.num_samples // 2
    assert num_bytes <= max_bytes < num_bytes * (samples + 2) / samples, "the noise of a long training is counted"
    assert made.parent == tmp_path / f"pixels-{number.replace(' ', '-')}-{samples}"


def test_trained_values_that_take_more_than_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rducodec.training.distillation.plain.TRAINING_NOISE", 0.0)  # few values: too small an estimate
    said: list[str] = []
    makes = PlainPixels(configuration(), digits(2), tmp_path, 4000, reports=Reports(say=said.append))
    made = makes.made("float32")
    assert made is not None
    tried = [line for line in said if line.startswith("the same loss on plain pixels")]
    assert len(tried) > 1
    assert f", {read(made).header.num_samples // 2} a class, as float32" in tried[-1]
    assert made.stat().st_size <= 4000


def test_trained_values_that_take_less_than_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rducodec.training.distillation.plain.TRAINING_NOISE", 3.0)
    said: list[str] = []
    made = PlainPixels(configuration(), digits(2), tmp_path, 1500, reports=Reports(say=said.append)).made("2 bits")
    assert made is not None
    assert len([line for line in said if line.startswith("the same loss on plain pixels")]) > 1
    assert 1500 / 1.1 < made.stat().st_size <= 1500


def test_changes_have_a_folder_of_their_own(tmp_path: Path) -> None:
    places = []
    for changes in ((), ("joint.iterations=3",), ("joint.iterations=4",)):
        made = PlainPixels(configuration(), digits(2), tmp_path, 1500, changes).made("8 bits")
        assert made is not None
        places.append(made.parent.name)
    assert len(set(places)) == 3
    with pytest.raises(RddInputError, match=r"samples\.spc follows from the size of the file"):
        PlainPixels(configuration(), digits(2), tmp_path, 1500, ["samples.spc=1"]).made("8 bits")


def test_the_loss_and_the_labels_are_those_of_the_run(tmp_path: Path) -> None:
    done = distil(tmp_path, **GM)
    found = configuration_of_run(tmp_path)
    assert found == configuration(**GM)
    makes = PlainPixels(found, digits(2), tmp_path, len(done.exported.data), ["joint.iterations=3"])
    made = makes.made("2 bits")
    assert made is not None
    own = configuration_of_run(made.parent)
    assert own is not None
    assert own.utility == found.utility
    assert (own.joint.iterations, own.samples.parameterization, own.export.number) == (3, "pixels", "2 bits")
    dataset = read(made)
    assert dataset.soft_labels is not None
    assert dataset.header.texts.recipe["loss"] == "gm"
    assert made.stat().st_size <= len(done.exported.data)


def test_classes_were_chosen_before(tmp_path: Path) -> None:
    chosen = configuration(data__classes=[7, 3])
    split = digits(10).of_classes((7, 3))
    made = PlainPixels(chosen, split, tmp_path, 3000).made("8 bits")
    assert made is not None
    assert read(made).header.texts.class_names == ("7", "3")


def test_nothing_fits_or_is_known(tmp_path: Path) -> None:
    assert PlainPixels(configuration(), digits(2), tmp_path, 200).made("float32") is None
    with pytest.raises(RddInputError, match="as '3 bits': expected some of float32, float16, 8 bits, 4 bits, 2 bits"):
        PlainPixels(configuration(), digits(2), tmp_path, 2000).made("3 bits")
    assert not list(tmp_path.iterdir())


def test_a_damaged_note_of_a_run_is_refused(tmp_path: Path) -> None:
    assert configuration_of_run(tmp_path) is None
    for text in ("{", "[]", '{"configuration": 3}', '{"configuration": {"data": {}}}'):
        (tmp_path / RUN_FILE).write_text(text)
        with pytest.raises(RddInputError, match=r"run\.json.*damaged"):
            configuration_of_run(tmp_path)
