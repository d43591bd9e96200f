"""How partitions are spread over the members of a group on the embedded log."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.bus.embedded_group import Claim, Slot, spread

pytestmark = pytest.mark.unit


def claims(topics: int, partitions: int, targets: dict[Slot, str] | None = None) -> list[Claim]:
    slots = [(topic, number) for topic in range(topics) for number in range(partitions)]
    return [Claim(slot=slot, owner=None, target=(targets or {}).get(slot)) for slot in slots]


def test_without_members_nobody_gets_anything() -> None:
    assert spread(claims(2, 4), {}) == {}


def test_a_topic_goes_only_to_members_that_read_it() -> None:
    chosen = spread(claims(2, 4), {"a": frozenset({0}), "b": frozenset({1})})

    assert {member for slot, member in chosen.items() if slot[0] == 0} == {"a"}
    assert {member for slot, member in chosen.items() if slot[0] == 1} == {"b"}


@given(
    topics=st.integers(1, 4),
    partitions=st.integers(1, 8),
    before=st.integers(0, 5),
    after=st.integers(1, 5),
)
def test_every_partition_has_a_reader_and_no_reader_has_two_more_than_another(
    topics: int, partitions: int, before: int, after: int
) -> None:
    reads = frozenset(range(topics))
    standing = spread(claims(topics, partitions), {f"m{n}": reads for n in range(before)})

    chosen = spread(claims(topics, partitions, standing), {f"m{n}": reads for n in range(1, after + 1)})

    assert len(chosen) == topics * partitions
    for topic in range(topics):
        counts = Counter({f"m{n}": 0 for n in range(1, after + 1)})
        counts.update(member for slot, member in chosen.items() if slot[0] == topic)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_newcomer_takes_only_its_share() -> None:
    reads = frozenset({0})
    standing = spread(claims(1, 4), {"a": reads})

    chosen = spread(claims(1, 4, standing), {"a": reads, "b": reads})

    assert Counter(chosen.values()) == {"a": 2, "b": 2}
    assert spread(claims(1, 4, chosen), {"a": reads, "b": reads}) == chosen


def test_members_with_less_in_all_are_served_first() -> None:
    both = frozenset(range(4))

    chosen = spread(claims(4, 1), {"a": both, "b": both})

    assert Counter(chosen.values()) == {"a": 2, "b": 2}
