"""Sends dead letters back to where they came from, after the cause is gone. An operator's tool: look first, then send.

That a letter was sent back is noted in the dead-letter topic itself, so no letter goes back twice unless asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass

from services.core.bus import letters
from services.core.bus.port import Admin, Bus, Producer, Record
from services.core.bus.topics import (
    HEADER_REASON,
    HEADER_REASON_CODE,
    HEADER_REDRIVEN,
    HEADER_REQUEST_ID,
    dead_topic,
    origin_topic,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that was given up: its request, why, where it goes back to, and whether it has gone back."""

    request_id: str | None
    reason_code: str
    reason: str
    target: str
    redriven: bool
    record: Record


def dead_letters(admin: Admin, topic: str) -> list[DeadLetter]:
    """All letters still kept for a topic (its own name or its dead-letter topic's), the oldest first per partition.

    Raises BusUnavailable.
    """
    kept = list(admin.browse(dead_topic(origin_topic(topic))))
    gone = {record.headers[HEADER_REDRIVEN] for record in kept if HEADER_REDRIVEN in record.headers}
    return [
        DeadLetter(
            request_id=record.headers.get(HEADER_REQUEST_ID),
            reason_code=record.headers.get(HEADER_REASON_CODE, ""),
            reason=record.headers.get(HEADER_REASON, ""),
            target=letters.came_from(record),
            redriven=_place(record) in gone,
            record=record,
        )
        for record in kept
        if HEADER_REDRIVEN not in record.headers
    ]


def redrive(
    bus: Bus, topic: str, *, request_ids: Collection[str] | None = None, dry_run: bool = True, again: bool = False
) -> list[DeadLetter]:
    """The letters that go back: all, or those of some requests; with `again` also those that went back before.

    With `dry_run` nothing is sent. A crash in between can send a letter twice, never lose one. Raises BusUnavailable.
    """
    with closing(bus.admin()) as admin:
        chosen = [
            letter
            for letter in dead_letters(admin, topic)
            if (request_ids is None or letter.request_id in request_ids) and (again or not letter.redriven)
        ]
    if chosen and not dry_run:
        with closing(bus.producer()) as producer:
            for letter in chosen:
                _send_back(producer, letter.record, letter.target)
    return chosen


def _send_back(producer: Producer, record: Record, target: str) -> None:
    producer.send(target, record.key, record.value, letters.redriven_headers(record))
    producer.send(record.topic, record.key, b"", {HEADER_REDRIVEN: _place(record)})


def _place(record: Record) -> str:
    return f"{record.partition}/{record.offset}"
