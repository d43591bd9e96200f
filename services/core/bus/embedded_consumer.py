"""A member of a consumer group on the embedded log.

Between two looks at the records it only asks SQLite whether the file has changed (`data_version`), every 20 ms: a
poll that waits costs next to nothing and answers within that time.
"""

from __future__ import annotations

import heapq
import json
import os
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.core.bus import embedded_group as grouping
from services.core.bus.embedded_file import answering, connect, microseconds, moment, writing
from services.core.bus.embedded_group import Slot
from services.core.bus.embedded_sweep import Sweeper
from services.core.bus.errors import Fenced
from services.core.bus.port import Record
from services.core.runtime.clock import Clock

LOOK_INTERVAL_S = 0.02
RECORD_COLUMNS = "partition, offset, key, value, headers, produced_us"
_NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a consumer needs to know to join: its group, its topics by priority, partitions of topics it creates."""

    group: str
    topics: tuple[str, ...]
    partitions: int
    lease_s: float


@dataclass(slots=True, kw_only=True)
class _Held:
    """A partition of ours: where we read, what we handed out and have not committed, and until when it waits."""

    epoch: int
    position: int
    leaving: bool
    in_hand: list[int]
    not_before: float = 0.0


def record_from(topic: str, row: Sequence[Any]) -> Record:
    """A record from a row of `RECORD_COLUMNS`."""
    partition, offset, key, value, headers, produced_us = row
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=json.loads(headers),
        produced_at=moment(produced_us),
    )


class EmbeddedConsumer:
    """Implements `port.Consumer`. Used from one thread."""

    def __init__(self, path: Path, membership: Membership, clock: Clock) -> None:
        self._membership = membership
        self._clock = clock
        self._member = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._log = connect(path, durable=True)
        self._leases = connect(path, durable=False)
        self._paused: set[str] = set()
        self._held: dict[Slot, _Held] = {}
        self._seen = -1
        self._renew_at = 0.0
        self._sweeper = Sweeper(clock)
        self._stirred = True
        self._wake_at = _NEVER
        self._keep_membership()
        rows = dict(self._log.execute("SELECT name, id FROM topic").fetchall())
        self._row_of: dict[str, int] = {name: rows[name] for name in membership.topics}

    def poll(self, timeout_s: float, max_records: int = 1) -> Sequence[Record]:
        """See the port. Raises BusUnavailable."""
        deadline = time.monotonic() + timeout_s
        with answering():
            while True:
                self._keep_membership()
                if self._changed():
                    self._look_at_claims()
                    self._stirred = True
                elif self._clock.monotonic() >= self._wake_at:
                    self._stirred = True
                records = self._take(max_records) if self._stirred else []
                left = deadline - time.monotonic()
                if records or left <= 0:
                    return records
                time.sleep(min(LOOK_INTERVAL_S, left))

    def pause(self, topics: Sequence[str]) -> None:
        self._paused.update(topics)

    def resume(self, topics: Sequence[str]) -> None:
        self._paused.difference_update(topics)
        self._stirred = True

    def commit(self, record: Record) -> None:
        """See the port. Raises Fenced, BusUnavailable."""
        slot = (self._row_of[record.topic], record.partition)
        held = self._held.get(slot)
        if held is None:
            raise Fenced(record.topic, record.partition)
        with writing(self._log):
            self._write_commit(slot, held, record)
            left = [offset for offset in held.in_hand if offset > record.offset]
            if held.leaving and not left:
                grouping.hand_over(self._log, self._membership.group, self._member, [slot])
        held.in_hand = left
        held.position = max(held.position, record.offset + 1)
        if held.leaving and not left:
            del self._held[slot]

    def seek_back(self, record: Record) -> None:
        self.defer(record, 0.0)

    def defer(self, record: Record, delay_s: float) -> None:
        held = self._held.get((self._row_of[record.topic], record.partition))
        if held is None:
            return
        held.position = min(held.position, record.offset)
        held.in_hand = [offset for offset in held.in_hand if offset < record.offset]
        held.not_before = self._clock.monotonic() + delay_s
        self._stirred = True

    def lag_seconds(self) -> Mapping[str, float]:
        """See the port; here it covers the whole group. Raises BusUnavailable."""
        now = microseconds(self._clock.now())
        lags = {}
        with answering():
            for name, row in self._row_of.items():
                oldest = self._log.execute(
                    "SELECT MIN((SELECT produced_us FROM record WHERE record.topic = claim.topic"
                    " AND record.partition = claim.partition AND offset >= committed ORDER BY offset LIMIT 1))"
                    " FROM claim WHERE grp = ? AND topic = ?",
                    (self._membership.group, row),
                ).fetchone()[0]
                lags[name] = max(0.0, (now - oldest) / 1e6) if oldest is not None else 0.0
        return lags

    def close(self) -> None:
        """See the port. Raises BusUnavailable when the others have to wait for the lease to end."""
        try:
            with writing(self._leases):
                grouping.leave(self._leases, self._membership.group, self._member)
                grouping.rebalance(self._leases, self._membership.group, self._clock.monotonic())
        finally:
            self._leases.close()
            self._log.close()

    def _keep_membership(self) -> None:
        now = self._clock.monotonic()
        if now < self._renew_at:
            return
        group, topics = self._membership.group, dict.fromkeys(self._membership.topics, self._membership.partitions)
        with writing(self._leases):
            grouping.renew(self._leases, group, self._member, topics, now + self._membership.lease_s)
            grouping.rebalance(self._leases, group, now)
        self._sweeper.sweep_if_due(self._leases)
        self._renew_at = now + self._membership.lease_s / 4

    def _changed(self) -> bool:
        version: int = self._log.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._seen
        self._seen = version
        return changed

    def _look_at_claims(self) -> None:
        """Learns which partitions are ours, and hands over those that another member is to have."""
        held: dict[Slot, _Held] = {}
        for topic, partition, committed, epoch, target in self._log.execute(
            "SELECT topic, partition, committed, epoch, target FROM claim WHERE grp = ? AND owner = ?",
            (self._membership.group, self._member),
        ):
            slot = (topic, partition)
            known = self._held.get(slot)
            if known is None or known.epoch != epoch:
                known = _Held(epoch=epoch, position=committed, leaving=False, in_hand=[])
            known.leaving = target != self._member
            held[slot] = known
        idle = [slot for slot, known in held.items() if known.leaving and not known.in_hand]
        self._held = {slot: known for slot, known in held.items() if slot not in idle}
        if idle:
            with writing(self._leases):
                grouping.hand_over(self._leases, self._membership.group, self._member, idle)

    def _take(self, max_records: int) -> list[Record]:
        """The next records, topic by topic; within a topic the oldest first. Clears `_stirred` when nothing is left."""
        taken: list[Record] = []
        now = self._clock.monotonic()
        self._wake_at = min((held.not_before for held in self._held.values() if held.not_before > now), default=_NEVER)
        by_topic: dict[int, list[tuple[int, _Held]]] = defaultdict(list)
        for (topic, partition), held in self._held.items():
            if not held.leaving and held.not_before <= now:
                by_topic[topic].append((partition, held))
        for name in self._membership.topics:
            if name not in self._paused and len(taken) < max_records:
                taken += self._take_from(name, by_topic[self._row_of[name]], max_records - len(taken))
        self._stirred = bool(taken)
        return taken

    def _take_from(self, topic: str, partitions: list[tuple[int, _Held]], wanted: int) -> list[Record]:
        heads: list[tuple[datetime, int, Record, _Held]] = []
        for partition, held in partitions:
            self._push_head(heads, topic, partition, held)
        taken: list[Record] = []
        while heads and len(taken) < wanted:
            _, partition, record, held = heapq.heappop(heads)
            held.position = record.offset + 1
            held.in_hand.append(record.offset)
            taken.append(record)
            if len(taken) < wanted:
                self._push_head(heads, topic, partition, held)
        return taken

    def _push_head(
        self, heads: list[tuple[datetime, int, Record, _Held]], topic: str, partition: int, held: _Held
    ) -> None:
        row = self._log.execute(
            f"SELECT {RECORD_COLUMNS} FROM record WHERE topic = ? AND partition = ? AND offset >= ?"  # noqa: S608
            " ORDER BY offset LIMIT 1",
            (self._row_of[topic], partition, held.position),
        ).fetchone()
        if row:
            record = record_from(topic, row)
            heapq.heappush(heads, (record.produced_at, partition, record, held))

    def _write_commit(self, slot: Slot, held: _Held, record: Record) -> None:
        group, upto = self._membership.group, record.offset + 1
        row = self._log.execute(
            "SELECT committed FROM claim WHERE grp = ? AND topic = ? AND partition = ? AND owner = ? AND epoch = ?",
            (group, *slot, self._member, held.epoch),
        ).fetchone()
        if row is None:
            self._held.pop(slot, None)
            raise Fenced(record.topic, record.partition)
        if row[0] >= upto:
            return
        at_us = microseconds(self._clock.now())
        self._log.execute(
            "UPDATE claim SET committed = ? WHERE grp = ? AND topic = ? AND partition = ?", (upto, group, *slot)
        )
        self._log.execute("INSERT INTO passage VALUES (?, ?, ?, ?, ?)", (group, *slot, upto, at_us))


def describe(db: sqlite3.Connection, group: str) -> dict[str, list[Slot]]:
    """Owner -> partitions of a group, for tests and operators."""
    owners: dict[str, list[Slot]] = defaultdict(list)
    for owner, topic, partition in db.execute(
        "SELECT owner, topic, partition FROM claim WHERE grp = ? AND owner IS NOT NULL", (group,)
    ):
        owners[owner].append((topic, partition))
    return dict(owners)
