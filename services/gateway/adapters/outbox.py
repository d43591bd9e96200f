"""The outbox's rows: what is to be sent, in which order, and by whom."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, select, update

from services.gateway.adapters import schema
from services.gateway.ports import OutboxRow


def unsent(connection: Connection, limit: int) -> list[OutboxRow]:
    """The oldest messages that are to be sent, in order."""
    box = schema.outbox
    asked = select(box).where(box.c.sent_at.is_(None)).order_by(box.c.seq).limit(limit)
    return _rows(connection.execute(asked))


def claimed_heads(connection: Connection, limit: int) -> list[OutboxRow]:
    """The oldest message of each key that no other transaction has claimed; claimed until this one ends.

    A row that is claimed elsewhere hides the later ones of its key: they are no heads before it is marked.
    """
    box, earlier = schema.outbox, schema.outbox.alias("earlier")
    hidden = exists().where(earlier.c.key == box.c.key, earlier.c.sent_at.is_(None), earlier.c.seq < box.c.seq)
    asked = select(box).where(box.c.sent_at.is_(None), ~hidden).order_by(box.c.seq).limit(limit)
    return _rows(connection.execute(asked.with_for_update(of=box, skip_locked=True)))


def mark_sent(connection: Connection, row: OutboxRow, now: datetime) -> None:
    """The message is durable on the bus."""
    connection.execute(update(schema.outbox).where(schema.outbox.c.seq == row.seq).values(sent_at=now))


def _rows(rows: Iterable[Row[Any]]) -> list[OutboxRow]:
    return [OutboxRow(seq=row.seq, topic=row.topic, key=row.key, value=row.value, headers=row.headers) for row in rows]
