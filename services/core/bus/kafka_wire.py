"""What the three Kafka clients share: connection settings, records to and from the wire, errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka.errors import KafkaError, MessageSizeTooLargeError

from services.core.bus.errors import BusUnavailable
from services.core.bus.port import Record
from services.core.contracts.errors import Permanent

CONNECTION: dict[str, Any] = {
    "request_timeout_ms": 5000,
    "bootstrap_timeout_ms": 10000,
    "reconnect_backoff_max_ms": 1000,
    "metadata_max_age_ms": 15000,
}
"""Short time-outs: a broker that comes back is noticed within a second or two."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def kafka_answers() -> Iterator[None]:
    """Turns the client's errors into BusUnavailable, and a message over the size limit into Permanent."""
    try:
        yield
    except MessageSizeTooLargeError as error:
        raise Permanent("MESSAGE_TOO_LARGE", "the message is larger than the broker takes") from error
    except KafkaError as error:
        raise BusUnavailable(f"Kafka does not answer: {type(error).__name__}") from error


def headers_to_wire(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """Headers as Kafka carries them: UTF-8."""
    return [(name, value.encode()) for name, value in headers.items()]


def record_from(message: Any) -> Record:
    """A record from what the client hands out. Foreign bytes in key or headers are replaced, never an error."""
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=(message.key or b"").decode(errors="replace"),
        value=message.value or b"",
        headers={name: (value or b"").decode(errors="replace") for name, value in message.headers},
        produced_at=_EPOCH + timedelta(milliseconds=message.timestamp),
    )
