"""Arrays that say which slices share networks: one form for each sharing, and nothing else is taken."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rducodec.bitstream.sharing import first_equal, pack_owners, unpack_owners
from rducodec.errors import RddFormatError


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30))
def test_every_sharing_comes_back(items: list[int]) -> None:
    owners = first_equal(items)
    if len(set(owners)) == len(owners):
        return  # nothing shared: no array
    assert unpack_owners("key", pack_owners(owners), len(owners)) == owners


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6), st.integers(1, 12))
def test_what_is_taken_is_the_only_form(pairs: list[tuple[int, int]], num_slices: int) -> None:
    numbers = [number for pair in pairs for number in pair]
    try:
        owners = unpack_owners("key", numbers, num_slices)
    except RddFormatError:
        return
    assert pack_owners(owners) == numbers
    assert len(owners) == num_slices
    assert all(owners[owner] == owner <= index for index, owner in enumerate(owners))  # earlier, and no chain


@pytest.mark.parametrize(
    ("owners", "most"),
    [((0,) * 3, 5), ((0,) * 1000, 7), (tuple(i // 100 * 100 for i in range(1000)), 43), ((0, 1, 0, 1) * 2, 15)],
)
def test_arrays_are_small(owners: tuple[int, ...], most: int) -> None:
    assert len(msgpack.packb(pack_owners(owners))) <= most
