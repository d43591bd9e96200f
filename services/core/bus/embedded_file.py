"""The file behind the embedded log: its tables, its connections, and transactions that tell their errors apart.

One SQLite database in WAL mode, used by all processes of a home. A transaction of a *durable* connection has reached
the disk when it returns (synchronous=FULL, rule 1); a *quick* one may be lost with the power, never torn: it only
serves leases.
"""

from __future__ import annotations

import fcntl
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.core.bus.errors import BusUnavailable
from services.core.contracts.errors import Permanent

VERSION = 1
BUSY_TIMEOUT_S = 20.0
SCHEMA = """
CREATE TABLE topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE partition (
    topic INTEGER NOT NULL, number INTEGER NOT NULL, next_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, number)) WITHOUT ROWID;
CREATE TABLE record (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, key TEXT NOT NULL,
    value BLOB NOT NULL, headers TEXT NOT NULL, request_id TEXT, produced_us INTEGER NOT NULL,
    UNIQUE (topic, partition, offset));
CREATE INDEX record_request ON record (topic, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX record_age ON record (produced_us);
-- A member of a group is alive until `expires`, a moment of the machine's monotonic clock.
CREATE TABLE member (grp TEXT NOT NULL, id TEXT NOT NULL, topics TEXT NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (grp, id)) WITHOUT ROWID;
-- One row per group and partition. `owner` reads it; `target` shall own it once the owner has nothing in hand.
CREATE TABLE claim (
    grp TEXT NOT NULL, topic INTEGER NOT NULL, partition INTEGER NOT NULL, committed INTEGER NOT NULL DEFAULT 0,
    owner TEXT, target TEXT, epoch INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (grp, topic, partition)) WITHOUT ROWID;
-- When a group's committed offset passed which offset.
CREATE TABLE passage (
    grp TEXT NOT NULL, topic INTEGER NOT NULL, partition INTEGER NOT NULL, upto INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    PRIMARY KEY (grp, topic, partition, upto)) WITHOUT ROWID;
CREATE TABLE sweep (one INTEGER PRIMARY KEY CHECK (one = 1), at_us INTEGER NOT NULL);
INSERT INTO sweep VALUES (1, 0);
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """The inverse of `microseconds`."""
    return _EPOCH + timedelta(microseconds=us)


def create(path: Path) -> None:
    """Creates the database if it is not there. Raises Permanent when another version wrote it, BusUnavailable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that switch to WAL at once would see "database is locked"
        db = connect(path, durable=True)
        try:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.execute("PRAGMA journal_mode=WAL")
                with writing(db):
                    for statement in SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version={VERSION}")
            elif version != VERSION:
                raise Permanent(
                    "BUS_VERSION",
                    f"the embedded log has version {version}, this program reads version {VERSION}",
                    "Use the program that wrote it, or another home.",
                )
        finally:
            db.close()


def connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; the caller keeps threads apart. Raises BusUnavailable."""
    with answering():
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    return db


@contextmanager
def answering() -> Iterator[None]:
    """Turns SQLite's operational errors (locked too long, disk full, input/output) into BusUnavailable."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise BusUnavailable(f"the embedded log does not answer: {error}") from error


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: all of it or nothing. Raises BusUnavailable."""
    with answering():
        _begin(db)
        try:
            yield
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _begin(db: sqlite3.Connection) -> None:
    """Takes the write lock, trying often and at random: SQLite's own back-off can starve a process for seconds."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    db.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                    raise
                time.sleep(random.uniform(0.0005, 0.003))  # noqa: S311 - no secret
            else:
                return
    finally:
        db.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")


def topic_id(db: sqlite3.Connection, name: str) -> int | None:
    """Row of a topic, or None."""
    row = db.execute("SELECT id FROM topic WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else None


def add_topic(db: sqlite3.Connection, name: str, partitions: int) -> int:
    """Creates a topic unless it is there, within the caller's transaction; gives its row."""
    known = topic_id(db, name)
    if known is not None:
        return known
    db.execute("INSERT INTO topic (name) VALUES (?)", (name,))
    created = topic_id(db, name)
    assert created is not None
    db.executemany("INSERT INTO partition (topic, number) VALUES (?, ?)", [(created, n) for n in range(partitions)])
    return created
