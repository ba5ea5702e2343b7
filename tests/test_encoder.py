"""Sources into slices: what is planned before any training."""

from __future__ import annotations

import numpy as np
import pytest

import rducodec
from rducodec.encoder import (
    encode_latent_source,
    encode_raw_source,
    labels_of,
    overfit_settings,
    payload_target,
    plan_latent,
)
from rducodec.errors import RddInputError
from rducodec.interop import make_source
from rducodec.shape import LatentShape


def source(labels: list[int], **options):
    samples = np.arange(len(labels) * 12, dtype=np.uint8).reshape(len(labels), 3, 2, 2)
    return make_source(samples, labels, **options)


def test_slices_are_of_one_class_and_nearly_equal():
    plan = plan_latent(source([0] * 10 + [2] * 3, num_classes=4), LatentShape(slice_size=4))
    assert [len(part) for part in plan.parts] == [4, 3, 3, 3]
    assert plan.classes == [0, 0, 0, 2]
    assert plan.labels.counts.tolist() == [10, 0, 3, 0]


def test_slices_follow_the_order_of_the_source():
    given = source([1, 0, 1, 0])
    plan = plan_latent(given, LatentShape(), keep_order=True)
    assert plan.labels.sequence().tolist() == [1, 0, 1, 0]
    assert np.array_equal(plan.parts[0], given.float_samples()[[1, 3]])
    assert np.array_equal(plan.parts[1], given.float_samples()[[0, 2]])


def test_order_costs_nothing_where_it_is_the_usual_one():
    assert labels_of(source([0, 0, 1]), keep_order=True).order is None
    assert labels_of(source([0, 1, 0]), keep_order=False).order is None


def test_fixed_bits_are_those_of_the_file_within_a_few_bytes():
    given = source([0] * 5 + [1] * 4, class_names=["a", "b"])
    shape = LatentShape((3,), 8, 1, slice_size=3)
    texts = rducodec.Texts(name="x" * 50)
    plan = plan_latent(given, shape, texts=texts)
    pytest.importorskip("torch")
    from rducodec.encoder import encode_latent_source, overfit_settings

    data = encode_latent_source(given, plan, overfit_settings(steps=10, candidates=1), texts=texts)
    parts = rducodec.bpc(data).parts
    fixed = parts["header"] + parts["labels"] + parts["framing"]
    assert abs(fixed - plan.fixed_bits) <= 8 * 2 * len(plan.parts)


def test_target_leaves_room_for_what_is_fixed():
    plan = plan_latent(source([0, 0, 2], num_classes=3), LatentShape())
    assert payload_target(plan, 10_000) == pytest.approx((3 * 10_000 - plan.fixed_bits) / 2)
    with pytest.raises(RddInputError, match="header, labels and framing"):
        payload_target(plan, 10)


@pytest.mark.parametrize("texts", [rducodec.Texts(name="a\0"), rducodec.Texts(recipe={"lr": float("nan")})])
def test_what_a_header_cannot_hold_is_refused_before_training(texts):
    with pytest.raises(RddInputError, match="cannot be written"):
        plan_latent(source([0, 1]), LatentShape(), texts=texts)


def test_slices_that_share_networks_are_trained_as_one():
    given = source([1, 0, 1, 2, 0], num_classes=3)
    plan = plan_latent(given, LatentShape((3,), 8, 1, slice_size=1, networks="file"))
    assert [len(part) for part in plan.trained_parts()] == [5]
    pytest.importorskip("torch")
    from rducodec.training import overfit

    trained = overfit(plan.trained_parts(), plan.config, overfit_settings(steps=10), classes=plan.trained_classes())
    stored = plan.file_slices(trained)
    assert [part.num_samples for part in stored] == [1] * 5
    (again,) = plan.trained_slices(stored)
    assert all(np.array_equal(a, b) for a, b in zip(again.latents, trained[0].latents, strict=True))
    data = encode_latent_source(given, plan, overfit_settings(steps=10))
    assert rducodec.bpc(data).parts["entropy_networks"] < 8 * 150  # those of one slice
    assert rducodec.read(data).labels.tolist() == [0, 0, 1, 1, 2]
    with pytest.raises(RddInputError, match="slice, file"):
        plan_latent(given, LatentShape(networks="class"))


def test_slice_size_of_nothing():
    with pytest.raises(RddInputError, match="slice size"):
        plan_latent(source([0, 1]), LatentShape(slice_size=0))


@pytest.mark.parametrize("keep_order", [True, False])
def test_raw_source_in_both_orders(keep_order):
    given = source([1, 0, 1, 2, 0], num_classes=4)
    dataset = rducodec.read(encode_raw_source(given, slice_size=1, keep_order=keep_order))
    rows = np.arange(5) if keep_order else np.argsort(given.labels, kind="stable")
    assert np.array_equal(dataset.stored_samples(), given.samples[rows])
    assert dataset.labels.tolist() == given.labels[rows].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_raw_floats(dtype):
    values = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float16).astype(dtype)
    given = make_source(values, [0, 0, 1], space=rducodec.ValueSpace("other", text="noise"))
    dataset = rducodec.read(encode_raw_source(given))
    assert np.array_equal(dataset.stored_samples(), values)
    assert dataset.header.space == rducodec.ValueSpace("other", text="noise")
