"""Keeps the embedded log from growing for ever: old records that every known group has committed are deleted.

Dead letters have no group; they are kept longer, for operators. Freed pages are used again, the file does not shrink.
"""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from services.core.bus.embedded_file import microseconds, writing
from services.core.bus.topics import DEAD_RETENTION, RETENTION
from services.core.runtime.clock import Clock

INTERVAL = timedelta(hours=1)
CHUNK = 1000


class Sweeper:
    """Sweeps at most once an interval, whichever of the home's processes comes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_look = 0.0

    def sweep_if_due(self, db: sqlite3.Connection) -> int:
        """Deletes a chunk when it is time; gives the number of records deleted. Raises BusUnavailable."""
        monotonic = self._clock.monotonic()
        if monotonic < self._next_look:
            return 0
        self._next_look = monotonic + INTERVAL.total_seconds() / 10
        now = self._clock.now()
        due_us = microseconds(now - INTERVAL)
        if db.execute("SELECT at_us FROM sweep WHERE at_us > ?", (due_us,)).fetchone():
            return 0
        cutoffs = (microseconds(now - RETENTION), microseconds(now - DEAD_RETENTION))
        with writing(db):
            deleted = db.execute(
                "DELETE FROM record WHERE rowid IN (SELECT record.rowid FROM record"
                " JOIN topic ON topic.id = record.topic WHERE produced_us < ?"
                " AND (produced_us < ? OR topic.name NOT LIKE '%.dead')"
                " AND NOT EXISTS (SELECT 1 FROM claim WHERE claim.topic = record.topic"
                "   AND claim.partition = record.partition AND committed <= offset)"
                " ORDER BY produced_us LIMIT ?)",
                (*cutoffs, CHUNK),
            ).rowcount
            db.execute("DELETE FROM passage WHERE at_us < ?", cutoffs[:1])
            if deleted < CHUNK:
                db.execute("UPDATE sweep SET at_us = ?", (microseconds(now),))
            else:
                self._next_look = monotonic
        return deleted
