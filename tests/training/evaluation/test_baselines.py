"""Rivals fill the budget and no more, and are chosen by what they are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rducodec.errors import RddInputError
from rducodec.training.data import LabelledImages
from rducodec.training.evaluation import stores
from rducodec.training.evaluation.baselines import (
    OWN_ROWS,
    Baseline,
    byte_pixels,
    choose_rivals,
    count_choices,
    fill,
    held_out_split,
    random_order,
    real_image_sets,
)
from tests.training.evaluation.small import bars

DATA = bars(60, shape=(3, 16, 16))


def baseline(name: str, count: int, codec: str | None = None) -> Baseline:
    return Baseline(name, codec or name, np.zeros((count, 1, 1, 1), np.float32), np.zeros(count, np.int64), 9, 1, count)


@pytest.mark.parametrize("target", [1000.0, 2000.5])
def test_rivals_fill_the_target_and_do_not_exceed_it(target: float) -> None:
    sets_and_capacities = real_image_sets(DATA, target, seed=0, qualities=(10, 50))
    found = sets_and_capacities.by_family
    assert set(found) == {"lossless", "JPEG", "WebP"}
    sets = [each for family in found.values() for each in family]
    assert len(sets) == 6 + 4 + 4
    for each in sets:
        assert each.bytes_per_class <= target
        assert np.bincount(each.labels).tolist() == [each.num_per_class] * 3
        assert len(each.samples) == len(each.labels)
        assert 0 <= each.header_bytes <= each.num_bytes
    for family in found.values():
        assert [each.num_per_class for each in family] == sorted((each.num_per_class for each in family), reverse=True)
    plain = next(each for each in sets if each.name == "8-bit pixels")
    assert plain.num_per_class == target // (3 * 16 * 16)
    capacities = sets_and_capacities.capacities
    assert {(each.name, each.num_per_class, each.bytes_per_class) for each in capacities} == {
        (each.name, each.num_per_class, each.bytes_per_class) for each in sets
    }
    counts = [each.num_per_class for each in capacities]
    assert counts == sorted(counts, reverse=True)


def test_no_image_more_would_fit() -> None:
    order = random_order(DATA, 0)
    for codec in (stores.png(), stores.jpeg(50)):
        store = stores.PictureFiles(byte_pixels(DATA), codec)
        found = fill(store, order, 3000)
        assert found is not None
        sizes = [[len(codec.encode(DATA.images[rows[i]])) for rows in order] for i in range(found.num_per_class + 1)]
        assert found.num_bytes == sum(map(sum, sizes[:-1])) <= 9000 < sum(map(sum, sizes))


def test_images_are_random_ones_and_those_of_a_smaller_set_are_in_a_larger_one() -> None:
    store, order = stores.PlainPixels(byte_pixels(DATA)), random_order(DATA, 0)
    small, large = fill(store, order, 768), fill(store, order, 768 * 5)
    assert small is not None
    assert large is not None
    assert np.array_equal(small.samples, large.samples[::5])
    other = fill(store, random_order(DATA, 1), 768)
    assert other is not None
    assert not np.array_equal(small.samples, other.samples)
    rows = np.concatenate([group[:5] for group in order])
    np.testing.assert_array_equal(large.samples, DATA.images[rows].astype(np.float32) / np.float32(255))
    assert np.array_equal(DATA.labels[rows], large.labels)


def test_a_class_with_few_images_gives_all() -> None:
    labels = np.array([0] * 2 + [1] * 58)
    data = replace(DATA, labels=labels, class_names=("rare", "common"))
    found = fill(stores.PlainPixels(data.images), random_order(data, 0), 768 * 4)
    assert found is not None
    assert np.bincount(found.labels).tolist() == [2, 6]


def test_nothing_fits_or_all_fits() -> None:
    found = real_image_sets(DATA, 20, seed=0, qualities=(10,))
    assert not any(found.by_family.values())
    assert choose_rivals(found.by_family, lambda _: 0.0, own_rows=OWN_ROWS) == []
    assert {each.num_per_class for each in found.capacities} == {0}
    assert len({each.name for each in found.capacities}) == 6 + 2 + 2
    everything = fill(stores.PlainPixels(DATA.images), random_order(DATA, 0), 1e9)
    assert everything is not None
    assert len(everything.samples) == 60


def test_pictures_have_one_or_three_channels() -> None:
    assert set(real_image_sets(bars(6, shape=(2, 8, 8)), 1000, seed=0).by_family) == {"lossless"}


def test_float_images_become_bytes() -> None:
    images = np.array([0, 0.5, 1, 1.0005], np.float32).reshape(4, 1, 1, 1)
    assert byte_pixels(LabelledImages(images, np.zeros(4, np.int64), ("a",))).ravel().tolist() == [0, 128, 255, 255]


def test_held_out_images_are_no_rivals() -> None:
    numbered = replace(DATA, images=np.arange(60, dtype=np.float32).reshape(60, 1, 1, 1))
    rest, held = held_out_split(numbered, 0)
    assert np.bincount(held.labels).tolist() == [2, 2, 2]
    assert sorted([*rest.images.ravel(), *held.images.ravel()]) == list(range(60))
    assert np.array_equal(rest.labels, rest.images.ravel() % 3)
    with pytest.raises(RddInputError, match="at most one of each class"):
        held_out_split(bars(3), 0)


def test_the_best_of_each_codec_is_chosen() -> None:
    worth = {"b": 0.3, "c": 0.5, "d": 0.4}
    lossy = [baseline("b", 9), baseline("c", 7), baseline("c in files", 6, "c"), baseline("d", 5)]
    found = {"lossless": [baseline("a", 3), baseline("z", 2)], "JPEG": lossy}
    chosen = choose_rivals(found, lambda each: worth[each.name])
    assert [(each.name, compared) for each, compared in chosen] == [("a", ()), ("c", tuple(worth.items()))]
    assert count_choices(found) == 3


def test_lossless_codecs_that_are_asked_for_are_rivals_beside_the_best() -> None:
    lossless = [baseline("a", 4), baseline("PNG sheets", 3, "PNG"), baseline("PNG files", 3, "PNG"), baseline("z", 2)]

    def chosen(own_rows: tuple[str, ...]) -> list[str]:
        return [each.name for each, _ in choose_rivals({"lossless": lossless}, lambda _: 0.0, own_rows=own_rows)]

    assert chosen(("z", "PNG")) == ["a", "PNG sheets", "z"]
    assert chosen(("a",)) == ["a"]


def test_own_rows_are_names_of_codecs() -> None:
    found = real_image_sets(DATA, 2000, seed=0, qualities=(10,)).by_family
    assert set(OWN_ROWS) <= {each.codec_name for each in found["lossless"]}
    names = [each.name for each, _ in choose_rivals({"lossless": found["lossless"]}, lambda _: 0.0, own_rows=OWN_ROWS)]
    assert sum(name.startswith("PNG, one ") for name in names) == 1
    assert names.count("8-bit pixels") == 1
