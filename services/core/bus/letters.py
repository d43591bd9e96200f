"""What travels with a message to its retry topic and to the dead letters, and back.

Key, value and all other headers (trace context, request id, schema) stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from services.core.bus.port import Record
from services.core.bus.topics import (
    HEADER_FIRST_TRIED,
    HEADER_NOT_BEFORE,
    HEADER_ORIGIN,
    HEADER_REASON,
    HEADER_REASON_CODE,
    HEADER_REDRIVEN,
    HEADER_RETRIES,
    origin_topic,
)
from services.core.contracts.errors import GlioServeError

REASON_LIMIT = 1000
_OURS = frozenset(
    {
        HEADER_FIRST_TRIED,
        HEADER_NOT_BEFORE,
        HEADER_ORIGIN,
        HEADER_REASON,
        HEADER_REASON_CODE,
        HEADER_REDRIVEN,
        HEADER_RETRIES,
    }
)


def wait_s(record: Record, now: datetime) -> float:
    """Seconds until a record of a retry topic is due; 0 when it is, or says nothing readable."""
    due = _time(record.headers.get(HEADER_NOT_BEFORE))
    return max(0.0, (due - now).total_seconds()) if due else 0.0


def first_tried(record: Record) -> datetime | None:
    """When this message failed for the first time, or None."""
    return _time(record.headers.get(HEADER_FIRST_TRIED))


def retries(record: Record) -> int:
    """How often this message went through the retry topic."""
    text = record.headers.get(HEADER_RETRIES, "0")
    return int(text) if text.isdigit() else 0


def retry_headers(record: Record, failed_first: datetime, now: datetime, delay_s: float) -> dict[str, str]:
    """Headers for the retry topic."""
    return {
        **record.headers,
        HEADER_FIRST_TRIED: failed_first.isoformat(),
        HEADER_NOT_BEFORE: (now + timedelta(seconds=delay_s)).isoformat(),
        HEADER_RETRIES: str(retries(record) + 1),
    }


def dead_headers(record: Record, error: GlioServeError) -> dict[str, str]:
    """Headers for the dead letters: where it lay when it failed, and why."""
    return {
        **record.headers,
        HEADER_ORIGIN: f"{record.topic}/{record.partition}/{record.offset}",
        HEADER_REASON_CODE: error.code,
        HEADER_REASON: error.message[:REASON_LIMIT],
    }


def redriven_headers(record: Record) -> dict[str, str]:
    """The headers with which the message was first sent."""
    return {name: value for name, value in record.headers.items() if name not in _OURS}


def came_from(letter: Record) -> str:
    """The topic to which a dead letter goes back; its place in a retry topic does not count."""
    origin: Mapping[str, str] = letter.headers
    return origin_topic(origin.get(HEADER_ORIGIN, letter.topic).split("/")[0])


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
