"""Who of a group reads which partition of the embedded log.

A member is alive while it renews its lease. Partitions are spread evenly and moved as little as possible. A living
owner hands a partition over once it has nothing uncommitted of it in hand, so that the order of a key survives a
newcomer; a dead one loses it with its lease. Every change of owner raises the epoch: an older commit is fenced.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.core.bus.embedded_file import add_topic

Slot = tuple[int, int]
"""Row of a topic, number of a partition."""
FAR_FUTURE_S = 3600.0
"""A lease that ends later than this was written before the machine's last start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One partition as a group holds it."""

    slot: Slot
    owner: str | None
    target: str | None


def renew(db: sqlite3.Connection, group: str, member: str, topics: Mapping[str, int], expires: float) -> None:
    """Joins, or stays; `topics` maps names to the partitions a new topic gets. Within the caller's transaction."""
    rows = {name: add_topic(db, name, partitions) for name, partitions in topics.items()}
    db.execute(
        "INSERT INTO member (grp, id, topics, expires) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (grp, id) DO UPDATE SET expires = excluded.expires",
        (group, member, json.dumps(sorted(rows.values())), expires),
    )
    for row in rows.values():
        db.execute(
            "INSERT OR IGNORE INTO claim (grp, topic, partition)"
            " SELECT ?, topic, number FROM partition WHERE topic = ?",
            (group, row),
        )


def leave(db: sqlite3.Connection, group: str, member: str) -> None:
    """Takes a member out. Within the caller's transaction, before `rebalance`."""
    db.execute("DELETE FROM member WHERE grp = ? AND id = ?", (group, member))


def rebalance(db: sqlite3.Connection, group: str, now: float) -> None:
    """Drops members whose lease has ended and spreads the partitions anew. Within the caller's transaction."""
    db.execute("DELETE FROM member WHERE grp = ? AND (expires < ? OR expires > ?)", (group, now, now + FAR_FUTURE_S))
    members = {
        str(name): frozenset(json.loads(topics))
        for name, topics in db.execute("SELECT id, topics FROM member WHERE grp = ? ORDER BY id", (group,))
    }
    claims = [
        Claim(slot=(topic, partition), owner=owner, target=target)
        for topic, partition, owner, target in db.execute(
            "SELECT topic, partition, owner, target FROM claim WHERE grp = ? ORDER BY topic, partition", (group,)
        )
    ]
    targets = spread(claims, members)
    for claim in claims:
        target = targets.get(claim.slot)
        owner = claim.owner if claim.owner in members else target
        if (owner, target) != (claim.owner, claim.target):
            db.execute(
                "UPDATE claim SET owner = ?, target = ?, epoch = epoch + ?"
                " WHERE grp = ? AND topic = ? AND partition = ?",
                (owner, target, owner != claim.owner, group, *claim.slot),
            )


def hand_over(db: sqlite3.Connection, group: str, member: str, slots: Iterable[Slot]) -> None:
    """Gives these partitions to the member that is to have them. Within the caller's transaction."""
    db.executemany(
        "UPDATE claim SET owner = target, epoch = epoch + 1"
        " WHERE grp = ? AND owner = ? AND target <> owner AND topic = ? AND partition = ?",
        [(group, member, *slot) for slot in slots],
    )


def spread(claims: Sequence[Claim], members: Mapping[str, frozenset[int]]) -> dict[Slot, str]:
    """Evenly per topic among the members that read it, keeping what stands; ties go to whoever has least in all."""
    chosen: dict[Slot, str] = {}
    total: Counter[str] = Counter()
    for topic in sorted({claim.slot[0] for claim in claims}):
        readers = [name for name, topics in members.items() if topic in topics]
        if not readers:
            continue
        mine = [claim for claim in claims if claim.slot[0] == topic]
        floor, extra = divmod(len(mine), len(readers))
        count: Counter[str] = Counter()
        homeless: list[Slot] = []
        for claim in mine:
            keeper = claim.target
            if keeper in readers and (count[keeper] < floor or (count[keeper] == floor and extra > 0)):
                extra -= count[keeper] == floor
                count[keeper] += 1
                chosen[claim.slot] = keeper
            else:
                homeless.append(claim.slot)
        for slot in homeless:
            taker = min(readers, key=lambda name: (count[name], total[name] + count[name], name))
            count[taker] += 1
            chosen[slot] = taker
        total.update(count)
    return chosen
