"""Networks of slices by total bits: against all ways to choose them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rducodec.quantization.sharing import Candidates, cheapest_assignment, existing_choice
from rducodec.weights import best_codes, information_bits
from spec.make_vectors import random_slice, tiny_config


def cost(bits: np.ndarray, networks: np.ndarray, chosen: tuple[int, ...]) -> float:
    return float(bits[list(chosen)].min(axis=0).sum() + networks[list(chosen)].sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 6), st.sampled_from([1.0, 30.0, 300.0]))
def test_assignment_is_near_the_best_of_all(seed: int, slices: int, networks: int, price: float) -> None:
    rng = np.random.default_rng(seed)
    bits, sizes = rng.uniform(0, 100, (networks, slices)), rng.uniform(0, price, networks)
    found = cheapest_assignment(bits, sizes)
    own = bits[found, range(slices)].sum() + sizes[sorted(set(found.tolist()))].sum()
    every = [c for size in range(1, networks + 1) for c in combinations(range(networks), size)]
    best = min(cost(bits, sizes, chosen) for chosen in every)
    single = min(cost(bits, sizes, (network,)) for network in range(networks))
    assert best - 1e-9 <= own <= single + 1e-9
    assert own <= 1.1 * best  # a local search may stop beside it


def test_groups_are_found() -> None:
    bits = np.array([[10.0, 10, 90, 90], [90, 90, 10, 10], [40, 40, 40, 40], [9, 60, 60, 60]])
    assert cheapest_assignment(bits, np.full(4, 20.0)).tolist() == [0, 0, 1, 1]
    assert cheapest_assignment(bits, np.full(4, 200.0)).tolist() == [2, 2, 2, 2]


def test_unknown_costs_are_never_chosen() -> None:
    bits = np.array([[5.0, np.inf], [np.inf, 5.0]])
    assert cheapest_assignment(bits, np.array([1.0, 1000.0])).tolist() == [0, 1]


def test_existing_networks_are_shared_where_that_is_cheaper() -> None:
    """Two slices of one distribution: a second network of the same quality is not worth its bits."""
    config = tiny_config(height=8, width=8, entropy_depth=2)
    rng = np.random.default_rng(4)
    slices = [random_slice(config, 2, rng) for _ in range(2)]
    choice = existing_choice(slices, config)
    assert choice.networks[0] is choice.networks[1]
    candidates = Candidates([part.latents for part in slices], config)
    candidates.add(choice.networks[0])
    assert candidates.choice().bits == pytest.approx(choice.bits)
    network = float(information_bits(choice.networks[0], best_codes(choice.networks[0])).sum())
    assert choice.bits > network
