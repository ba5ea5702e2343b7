"""Which slices use the networks of an earlier one (spec, "Shared networks")."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np

from rducodec.errors import RddFormatError
from rducodec.labels import run_lengths


def first_equal(items: Sequence[Hashable]) -> tuple[int, ...]:
    """For each item the place of the first one that equals it.

    >>> first_equal("abcab")
    (0, 1, 2, 0, 1)
    """
    places: dict[Hashable, int] = {}
    return tuple(places.setdefault(item, index) for index, item in enumerate(items))


def pack_owners(owners: Sequence[int]) -> list[int]:
    """Run lengths of how many stored networks back each slice looks, 0 for its own.

    `owners`: for each slice the slice that stores what it uses, itself or an earlier one.

    >>> pack_owners([0, 1, 1, 1, 0])
    [0, 2, 1, 2, 2, 1]
    """
    number: dict[int, int] = {}  # of each slice that stores its own, among these
    backs = []
    for index, owner in enumerate(owners):
        backs.append(0 if owner == index else len(number) - number[owner])
        if owner == index:
            number[index] = len(number)
    return [part for pair in run_lengths(np.array(backs)) for part in pair]


def unpack_owners(where: str, numbers: Sequence[int], num_slices: int) -> tuple[int, ...]:
    """Inverse of `pack_owners` for integers of at least 0. Raises RddFormatError for what no encoder writes."""
    if len(numbers) % 2:
        raise RddFormatError(f"header: {where} has {len(numbers)} numbers, pairs expected")
    backs, runs = numbers[::2], numbers[1::2]
    if 0 in runs or any(a == b for a, b in pairwise(backs)):
        raise RddFormatError(f"header: {where} has empty runs or neighbouring runs of one number")
    if sum(runs) != num_slices:
        raise RddFormatError(f"header: {where} is of {sum(runs)} slices, {num_slices} expected")
    if not any(backs):
        raise RddFormatError(f"header: {where} shares nothing and should be absent")
    owners: list[int] = []
    stored: list[int] = []  # slices that store their own
    for back, run in zip(backs, runs, strict=True):
        if back > len(stored):
            raise RddFormatError(
                f"header: {where}: slice {len(owners)} looks {back} networks back, {len(stored)} are stored before it"
            )
        if back:
            owners += [stored[-back]] * run
        else:
            own = range(len(owners), len(owners) + run)
            owners += own
            stored += own
    return tuple(owners)
