"""The embedded log: the bus of one machine, one SQLite file, no server (architecture rule 11).

`send` returns when the record has reached the disk. See `embedded_group` for who reads what, `embedded_sweep` for
how long records are kept.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from services.core.bus.embedded_consumer import RECORD_COLUMNS, EmbeddedConsumer, Membership, record_from
from services.core.bus.embedded_file import (
    add_topic,
    answering,
    connect,
    create,
    microseconds,
    moment,
    topic_id,
    writing,
)
from services.core.bus.port import Record
from services.core.bus.topics import HEADER_REQUEST_ID
from services.core.runtime.clock import Clock, SystemClock

DEFAULT_PARTITIONS = 4
LEASE_S = 5.0
BROWSE_CHUNK = 200


class EmbeddedBus:
    """Opens the log of a home. A topic that is used before `ensure_topics` gets `DEFAULT_PARTITIONS`."""

    def __init__(self, path: Path, clock: Clock | None = None, lease_s: float = LEASE_S) -> None:
        create(path)
        self._path = path
        self._clock = clock or SystemClock()
        self._lease_s = lease_s

    def producer(self) -> EmbeddedProducer:
        return EmbeddedProducer(self._path, self._clock)

    def consumer(self, group: str, topics: Sequence[str]) -> EmbeddedConsumer:
        membership = Membership(group=group, topics=tuple(topics), partitions=DEFAULT_PARTITIONS, lease_s=self._lease_s)
        return EmbeddedConsumer(self._path, membership, self._clock)

    def admin(self) -> EmbeddedAdmin:
        return EmbeddedAdmin(self._path)


class EmbeddedProducer:
    """Implements `port.Producer`. Threads take turns; processes wait for each other inside SQLite."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._db = connect(path, durable=True)
        self._turn = threading.Lock()
        self._clock = clock

    def send(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """See the port. Raises BusUnavailable."""
        headers = headers or {}
        with self._turn, writing(self._db):
            row = add_topic(self._db, topic, DEFAULT_PARTITIONS)
            partitions = self._db.execute("SELECT COUNT(*) FROM partition WHERE topic = ?", (row,)).fetchone()[0]
            partition = zlib.crc32(key.encode()) % partitions
            offset = self._db.execute(
                "UPDATE partition SET next_offset = next_offset + 1 WHERE topic = ? AND number = ?"
                " RETURNING next_offset - 1",
                (row, partition),
            ).fetchone()[0]
            self._db.execute(
                "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row,
                    partition,
                    offset,
                    key,
                    value,
                    json.dumps(dict(headers)),
                    headers.get(HEADER_REQUEST_ID),
                    microseconds(self._clock.now()),
                ),
            )

    def close(self) -> None:
        with self._turn:
            self._db.close()


class EmbeddedAdmin:
    """Implements `port.Admin`."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path, durable=True)

    def ensure_topics(self, topics: Sequence[str], partitions: int) -> None:
        """See the port. Raises BusUnavailable."""
        with writing(self._db):
            for name in topics:
                add_topic(self._db, name, partitions)

    def position_passed(self, group: str, record_topic: str, request_id: str) -> datetime | None:
        """See the port; exact here for as long as the record is kept. Raises BusUnavailable."""
        with answering():
            row = self._db.execute(
                "SELECT record.topic, partition, offset, produced_us FROM record JOIN topic ON topic.id = record.topic"
                " WHERE name = ? AND request_id = ? ORDER BY record.rowid DESC LIMIT 1",
                (record_topic, request_id),
            ).fetchone()
            if row is None:
                return None
            topic, partition, offset, produced_us = row
            passed = self._db.execute(
                "SELECT 1 FROM claim WHERE grp = ? AND topic = ? AND partition = ? AND committed > ?",
                (group, topic, partition, offset),
            ).fetchone()
            if passed is None:
                return None
            at_us = self._db.execute(
                "SELECT MIN(at_us) FROM passage WHERE grp = ? AND topic = ? AND partition = ? AND upto > ?",
                (group, topic, partition, offset),
            ).fetchone()[0]
        return moment(at_us if at_us is not None else produced_us)

    def holds(self, record_topic: str, request_id: str) -> bool:
        """See the port. Raises BusUnavailable."""
        with answering():
            found = self._db.execute(
                "SELECT 1 FROM record JOIN topic ON topic.id = record.topic WHERE name = ? AND request_id = ? LIMIT 1",
                (record_topic, request_id),
            ).fetchone()
        return found is not None

    def backlog(self, group: str, topic: str) -> int:
        """See the port. Raises BusUnavailable."""
        with answering():
            count: int = self._db.execute(
                "SELECT COALESCE(SUM((SELECT COUNT(*) FROM record WHERE record.topic = part.topic"
                "   AND record.partition = part.number AND offset >= COALESCE(committed, 0))), 0)"
                " FROM partition AS part JOIN topic ON topic.id = part.topic LEFT JOIN claim"
                " ON claim.grp = ? AND claim.topic = part.topic AND claim.partition = part.number WHERE name = ?",
                (group, topic),
            ).fetchone()[0]
        return count

    def browse(self, topic: str) -> Iterator[Record]:
        """See the port. Raises BusUnavailable."""
        with answering():
            row = topic_id(self._db, topic)
            end = self._db.execute("SELECT COALESCE(MAX(rowid), 0) FROM record").fetchone()[0]
        after = 0
        while True:
            with answering():
                rows = self._db.execute(
                    f"SELECT {RECORD_COLUMNS}, rowid FROM record WHERE topic = ? AND rowid > ? AND rowid <= ?"  # noqa: S608
                    " ORDER BY rowid LIMIT ?",
                    (row, after, end, BROWSE_CHUNK),
                ).fetchall()
            for found in rows:
                yield record_from(topic, found[:-1])
            if len(rows) < BROWSE_CHUNK:
                return
            after = rows[-1][-1]

    def close(self) -> None:
        self._db.close()
