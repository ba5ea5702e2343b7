"""Soft labels in a file: delivered order, digests, limits, selection."""

from __future__ import annotations

import numpy as np
import pytest

import rducodec
from rducodec.labels import quantize_labels
from spec.make_vectors import counts, latent_file, resealed, tiny_config

ORDER = np.array([1, 0, 2, 1, 1, 0])
PROBABILITIES = np.random.default_rng(12).dirichlet([0.4] * 3, 6)


def soft_file(order: np.ndarray | None) -> bytes:
    labels = rducodec.Labels(np.array([2, 3, 1]), order, quantize_labels(PROBABILITIES, 231))
    return latent_file(tiny_config(), [2, 3, 1], labels, 6)


@pytest.mark.parametrize("order", [None, ORDER])
def test_soft_labels_are_delivered_as_they_were_given(order: np.ndarray | None) -> None:
    dataset = rducodec.read(soft_file(order))
    assert dataset.label_counts is not None
    assert dataset.soft_labels is not None
    assert np.array_equal(dataset.label_counts, quantize_labels(PROBABILITIES, 231).counts)
    assert dataset.labels.tolist() == (sorted(ORDER) if order is None else ORDER.tolist())
    assert dataset.soft_labels[dataset.rows_of([1])].shape == (3, 3)
    assert len(dataset.samples([1])) == 3


def test_hard_labels_have_no_soft_ones() -> None:
    dataset = rducodec.read(latent_file(tiny_config(), [2], counts(2), 6))
    assert (dataset.soft_labels, dataset.label_counts, dataset.label_total) == (None, None, None)
    assert dataset.soft_section is None


def test_every_flipped_bit_of_the_labels_is_refused_behind_the_digest_of_the_file() -> None:
    """What an attacker reseals: the labels' own check finds every change, unless the hard labels change."""
    data = soft_file(ORDER)
    dataset = rducodec.read(data)
    assert dataset.soft_section is not None
    end = dataset.container.body_offset + dataset.header.labels_bytes
    for position in range(8 * (end - dataset.soft_section.num_bytes + 2), 8 * end):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises((rducodec.RddFormatError, rducodec.RddDigestError)):
            assert rducodec.read(resealed(bytes(damaged))).label_counts is None


@pytest.mark.parametrize(("name", "needed"), [("max_output_bytes", 6 * 16 * 4 + 6 * 3 * 4), ("max_work", None)])
def test_limits_count_soft_labels(name: str, needed: int | None) -> None:
    data = soft_file(None)
    needed = needed or rducodec.read(data).work()
    rducodec.read(data, limits=rducodec.Limits(**{name: needed}))
    with pytest.raises(rducodec.RddLimitError, match=f"{name}: the file needs {needed}"):
        rducodec.read(data, limits=rducodec.Limits(**{name: needed - 1}))


def test_rate_of_soft_labels() -> None:
    data = soft_file(None)
    rate = rducodec.bpc(data)
    soft = rate.soft_labels
    assert soft is not None
    assert sum(rate.parts.values()) == rate.file_bits == 8 * len(data)
    assert rate.parts["labels"] == soft.num_bits + 8 * 7  # kind and three pairs
    assert soft.bits_per_label == soft.num_bits / 6
    assert soft.bound_bits == pytest.approx(2 * np.log2(231 / (2 / 3)))
    assert rducodec.bpc(latent_file(tiny_config(), [2], counts(2), 6)).soft_labels is None


def test_torch_items() -> None:
    torch = pytest.importorskip("torch")
    from rducodec.torch import RddDataset

    data = soft_file(ORDER)
    dataset = RddDataset(data, labels="soft")
    expected = rducodec.read(data).soft_labels
    assert expected is not None
    assert torch.equal(dataset[2][1], torch.from_numpy(expected[2]))
    assert RddDataset(data)[2][1] == 2
    with pytest.raises(rducodec.RddInputError, match="no soft labels"):
        RddDataset(latent_file(tiny_config(), [2], counts(2), 6), labels="soft")
