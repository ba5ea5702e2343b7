from __future__ import annotations

from pathlib import Path

import numpy as np

import rducodec
from spec.make_vectors import counts
from tests.cli.command import latent, pixels, run

TEXTS = rducodec.Texts(
    name="Three birds",
    class_names=("wren", "owl", "hawk"),
    class_ids=(7, 70, 700),
    recipe={"aug": "none", "lr": 0.01},
    licence="CC0",
    source="a paper",
)


def test_everything_is_shown(tmp_path):
    path = latent(tmp_path, texts=TEXTS, space=rducodec.ValueSpace("standardised", (0.5,), (0.25,)))
    out = run("inspect", path).out
    shown = ("latent", "1 x 4 x 4", "Three birds", "wren", "owl", "700", "lr = 0.01", "CC0", "a paper", "mean 0.5")
    assert all(text in out for text in shown), out
    assert rducodec.read(path).sample_digest.hex() in out


def test_json_sections_tile_the_file(tmp_path):
    path = latent(tmp_path, texts=TEXTS)
    found = run("inspect", path, "--json").json
    place = 0
    for section in found["sections"]:
        assert section["offset"] == place
        place += section["bytes"]
    assert place == found["file_bytes"] == path.stat().st_size
    assert [section["name"] for section in found["sections"]][:4] == ["prefix", "header", "labels", "slice 0"]
    assert [section["samples"] for section in found["sections"][3:]] == [2, 2, 1]


def test_json_fields(tmp_path):
    found = run("inspect", latent(tmp_path, texts=TEXTS), "--json").json
    assert found["profile"] == "latent"
    assert found["shape"] == [1, 4, 4]
    assert found["class_counts"] == [2, 0, 3]
    assert found["class_names"] == list(TEXTS.class_names)
    assert found["recipe"] == TEXTS.recipe
    assert found["space"] is None
    assert found["keeps_order"] is False
    assert found["latents"] == {"grids": [[4, 4], [2, 2]], "per_sample": 20}
    entropy, decoder = found["entropy_network"], found["decoder_network"]
    assert entropy["parameters"] == 8 * 8 + 8 + 2 * 8 + 2
    assert decoder["parameters"] == (2 * 3 + 3) + (3 + 1) + 2 * (9 + 1)
    assert decoder["upsampling_parameters"] == 64


def test_sorted_units():
    path = Path(__file__).parents[2] / "spec/vectors/valid/inputs-and-units.rdd"
    out = run("inspect", path).out
    assert "5 latents of the next coarser grid, biases for each grid" in out
    assert "hidden units sorted" in out
    assert run("inspect", path, "--json").json["decoder_network"]["unit_keys"] == 3


def test_raw_file(tmp_path):
    path, _ = pixels(tmp_path)
    out = run("inspect", path).out
    assert "8-bit integers, divided by 255" in out
    assert "pixels, 0 is black" in out


def test_order_of_the_source(tmp_path):
    order = np.array([1, 0, 1])
    labels = rducodec.Labels(np.bincount(order), order)
    path = tmp_path / "a.rdd"
    path.write_bytes(rducodec.pack_raw(np.zeros((3, 1, 2, 2), np.float32), labels, rducodec.RawConfig(True, 32)))
    assert "in the order of the source" in run("inspect", path).out
    assert run("inspect", path, "--json").json["number_type"] == "float"


def test_control_characters_in_texts_are_escaped(tmp_path):
    path = latent(tmp_path, texts=rducodec.Texts(name="a\x1b]0;owned\x07", recipe={"k\n": "v\r"}))
    out = run("inspect", path).out
    assert "a\\x1b]0;owned\\x07" in out
    assert "\x1b" not in out
    assert "k\\n = v\\r" in out


def test_long_tables_are_cut_unless_asked_for(tmp_path):
    path = tmp_path / "many.rdd"
    samples = np.zeros((40, 1, 2, 2), np.uint8)
    path.write_bytes(rducodec.pack_raw(samples, counts(*[1] * 40), rducodec.RawConfig(False, 8, 255)))
    assert "more rows (--all)" in run("inspect", path).out
    assert "slice 39" in run("inspect", path, "--all").out


def test_nothing_is_decoded(tmp_path, monkeypatch):
    path = latent(tmp_path)
    monkeypatch.setattr(rducodec.Dataset, "latent_slices", None)
    assert run("inspect", path).code == 0
