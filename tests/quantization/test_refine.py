"""Integers of an entropy network moved one by one: the exact count falls, and by what the moves say."""

from __future__ import annotations

import numpy as np

from rducodec.entropy.known import KnownLatents
from rducodec.model import LatentSlice, QuantizedTensor
from rducodec.quantization.refine import refined_entropy
from rducodec.weights import best_code
from spec.make_vectors import random_slice, tiny_config

CONFIG = tiny_config(height=8, width=8, entropy_depth=1)


def total(network: tuple[QuantizedTensor, ...], part: LatentSlice) -> float:
    return KnownLatents.of(part.latents, CONFIG).information(network) + sum(best_code(t.values)[2] for t in network)


def test_bits_fall_and_a_second_run_finds_nothing_new_after_the_last_sweep() -> None:
    part = random_slice(CONFIG, 3, np.random.default_rng(8))
    once = refined_entropy(part.entropy, part.latents, CONFIG, sweeps=1)
    assert total(once, part) < total(part.entropy, part) - 5
    finished = refined_entropy(part.entropy, part.latents, CONFIG, sweeps=30)
    assert total(finished, part) <= total(once, part)
    again = refined_entropy(finished, part.latents, CONFIG, sweeps=1)
    assert all(np.array_equal(a.values, b.values) for a, b in zip(finished, again, strict=True))
    assert [t.frac_bits for t in finished] == [t.frac_bits for t in part.entropy]


def test_the_network_given_stays_as_it_is() -> None:
    part = random_slice(CONFIG, 2, np.random.default_rng(9))
    before = [tensor.values.copy() for tensor in part.entropy]
    refined_entropy(part.entropy, part.latents, CONFIG)
    assert all(np.array_equal(tensor.values, old) for tensor, old in zip(part.entropy, before, strict=True))


def test_with_more_latents_behind_a_sample_the_network_may_cost_more() -> None:
    part = random_slice(CONFIG, 3, np.random.default_rng(10))
    known = KnownLatents.of(part.latents, CONFIG)
    few = refined_entropy(part.entropy, part.latents, CONFIG, share=1.0, sweeps=5)
    many = refined_entropy(part.entropy, part.latents, CONFIG, share=100.0, sweeps=5)
    assert known.information(many) < known.information(few)
