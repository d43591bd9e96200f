"""Dealing out partition numbers: even, complete, and with as little moved as possible."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.bus.kafka_assignor import dealt

pytestmark = pytest.mark.unit

members = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.sets(st.integers(0, 20)), min_size=1, max_size=9
)


@given(count=st.integers(0, 16), held=members)
def test_every_number_has_one_owner_and_shares_differ_by_one_at_most(count: int, held: dict[str, set[int]]) -> None:
    owners = dealt(count, held)
    assert set(owners) == set(range(count))
    shares = Counter(owners.values())
    sizes = [shares[member] for member in held]
    assert max(sizes) - min(sizes) <= 1


@given(count=st.integers(1, 16), names=st.sets(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=9))
def test_dealing_again_moves_nothing(count: int, names: set[str]) -> None:
    first = dealt(count, {name: set() for name in names})
    again = {name: {number for number, owner in first.items() if owner == name} for name in names}
    assert dealt(count, again) == first


def test_a_second_member_takes_half_and_the_first_keeps_the_rest() -> None:
    assert dealt(4, {"old": {0, 1, 2, 3}, "new": set()}) == {0: "old", 1: "old", 2: "new", 3: "new"}


def test_what_a_member_leaves_goes_to_the_others_and_nothing_else_moves() -> None:
    assert dealt(4, {"left": {0, 1}, "right": {3}}) == {0: "left", 1: "left", 2: "right", 3: "right"}


def test_members_beyond_the_partitions_get_nothing() -> None:
    assert Counter(dealt(2, {"a": {0}, "b": {1}, "c": set()}).values()) == {"a": 1, "b": 1}
