"""Who of a group reads which partitions: every member the same share of every topic.

A sticky assignor evens out the total alone: of two members it gave one all of the routine lane and the other the idle
lanes, so a second pod of a stage did nothing. Here the partition's number is what is dealt out, over all topics at
once: both lanes and their retries of one patient stay with one member, and whoever has a number keeps it if it can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment


def dealt(count: int, held: Mapping[str, Collection[int]]) -> dict[int, str]:
    """Number -> member for the numbers below `count`: shares differ by one at most, as few numbers move as that allows.

    `held`: what each member has now, empty for a new one. Of two that claim one number the first by name has it.
    """
    owner: dict[int, str] = {}
    mine: dict[str, list[int]] = {}
    for member in sorted(held):
        mine[member] = [number for number in sorted(held[member]) if number < count and number not in owner]
        owner.update(dict.fromkeys(mine[member], member))
    by_holding = sorted(mine, key=lambda member: (-len(mine[member]), member))
    quota = {member: count // len(mine) + (place < count % len(mine)) for place, member in enumerate(by_holding)}
    kept = {number: member for member in mine for number in mine[member][: quota[member]]}
    free = iter(number for number in range(count) if number not in kept)
    for member in by_holding:
        for _ in range(quota[member] - min(quota[member], len(mine[member]))):
            kept[next(free)] = member
    return kept


class NumberAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """Deals out numbers; a partition that moves is first given up by its owner (KIP-429), as in its base."""

    name = "glioserve-by-number"

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """See `AbstractPartitionAssignor.assign`. All members of a group read the same topics."""
        known = {member.member_id: self.parse_member_metadata(member.metadata) for member in members}
        owners = {slot: member for member, metadata in known.items() for slot in metadata.partitions}
        sizes = {
            topic: len(cluster.partitions_for_topic(topic) or ())
            for topic in {topic for metadata in known.values() for topic in metadata.subscription}
        }
        held = {member: {slot.partition for slot in metadata.partitions} for member, metadata in known.items()}
        given: dict[str, dict[str, list[int]]] = {member: defaultdict(list) for member in known}
        for number, member in sorted(dealt(max(sizes.values(), default=0), held).items()):
            for topic in known[member].subscription:
                if number < sizes[topic] and owners.get((topic, number), member) == member:
                    given[member][topic].append(number)
        return {
            member: ConsumerProtocolAssignment(self.version, sorted(topics.items()), b"")
            for member, topics in given.items()
        }
