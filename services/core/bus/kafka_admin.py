"""The operator's view of a Kafka cluster.

Kafka finds no record by a header: the admin reads a topic once and remembers where each request lies, then only what
is new. It does not know when an offset was passed either; the time of the record stands in, as the port allows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from services.core.bus.errors import BusUnavailable
from services.core.bus.kafka_wire import CONNECTION, kafka_answers, record_from
from services.core.bus.port import Record
from services.core.bus.topics import DEAD_RETENTION, HEADER_REQUEST_ID, RETENTION

CREATE_TIMEOUT_S = 10
READ_TIMEOUT_S = 10.0
SLICE_S = 0.2


@dataclass(slots=True)
class _Place:
    """Where the newest record of a request lies."""

    slot: TopicPartition
    offset: int
    produced_at: datetime


@dataclass(slots=True)
class _Index:
    """What was read of a topic so far."""

    places: dict[str, _Place] = field(default_factory=dict)
    read_to: dict[TopicPartition, int] = field(default_factory=dict)


class KafkaAdmin:
    """Implements `port.Admin`. Threads take turns."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = list(servers)
        self._turn = threading.RLock()
        self._indices: dict[str, _Index] = {}
        with kafka_answers():
            self._client = KafkaAdminClient(bootstrap_servers=self._servers, **CONNECTION)
            self._reader = KafkaConsumer(
                bootstrap_servers=self._servers,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                fetch_max_wait_ms=100,
                **CONNECTION,
            )

    def ensure_topics(self, topics: Sequence[str], partitions: int) -> None:
        """See the port. Raises BusUnavailable."""
        with self._turn, kafka_answers():
            missing = sorted(set(topics) - set(self._client.list_topics()))
            if not missing:
                return
            wanted = {
                name: {"num_partitions": partitions, "configs": {"retention.ms": _retention_ms(name)}}
                for name in missing
            }
            answer = self._client.create_topics(wanted, timeout_ms=CREATE_TIMEOUT_S * 1000, raise_errors=False)
            for topic in answer["topics"]:
                if topic["error_code"] and for_code(topic["error_code"]) is not TopicAlreadyExistsError:
                    raise for_code(topic["error_code"])(topic["name"])
            self._client.wait_for_topics(missing)

    def position_passed(self, group: str, record_topic: str, request_id: str) -> datetime | None:
        """See the port. Raises BusUnavailable."""
        with self._turn:
            place = self._place_of(record_topic, request_id)
            if place is None or self._committed(group, [place.slot])[place.slot] <= place.offset:
                return None
            return place.produced_at

    def holds(self, record_topic: str, request_id: str) -> bool:
        """See the port. Raises BusUnavailable."""
        with self._turn:
            place = self._place_of(record_topic, request_id)
            if place is None:
                return False
            with kafka_answers():
                first = self._reader.beginning_offsets([place.slot])
            return bool(place.offset >= first[place.slot])

    def backlog(self, group: str, topic: str) -> int:
        """See the port. Raises BusUnavailable."""
        with self._turn:
            slots = self._slots(topic)
            with kafka_answers():
                first = self._reader.beginning_offsets(slots)
                end = self._reader.end_offsets(slots)
            committed = self._committed(group, slots)
            return sum(max(0, end[slot] - max(first[slot], committed[slot])) for slot in slots)

    def browse(self, topic: str) -> Iterator[Record]:
        """See the port. Raises BusUnavailable."""
        with self._turn:
            yield from list(self._read(topic, {}))

    def close(self) -> None:
        with self._turn, suppress(KafkaError):
            self._client.close()
            self._reader.close(autocommit=False)

    def _place_of(self, topic: str, request_id: str) -> _Place | None:
        """Where the newest record of a request lies, after reading what came since the last question."""
        index = self._indices.setdefault(topic, _Index())
        for record in self._read(topic, index.read_to):
            slot = TopicPartition(record.topic, record.partition)
            index.read_to[slot] = record.offset + 1
            if name := record.headers.get(HEADER_REQUEST_ID):
                index.places[name] = _Place(slot, record.offset, record.produced_at)
        return index.places.get(request_id)

    def _slots(self, topic: str) -> list[TopicPartition]:
        with kafka_answers():
            described = self._client.describe_topics([topic])
        return [TopicPartition(topic, entry["partition_index"]) for found in described for entry in found["partitions"]]

    def _committed(self, group: str, slots: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        with kafka_answers():
            known: dict[TopicPartition, Any] = self._client.list_group_offsets({group: list(slots)})[group]
        return {slot: max(0, known[slot].offset) if slot in known else 0 for slot in slots}

    def _read(self, topic: str, read_to: dict[TopicPartition, int]) -> Iterator[Record]:
        """Records from `read_to`, or from the first one kept, to the end as it stands now."""
        slots = self._slots(topic)
        if not slots:
            return
        with kafka_answers():
            first, end = self._reader.beginning_offsets(slots), self._reader.end_offsets(slots)
            left = {slot for slot in slots if end[slot] > max(first[slot], read_to.get(slot, 0))}
            if not left:
                return
            self._reader.assign(sorted(left))
            for slot in left:
                self._reader.seek(slot, max(first[slot], read_to.get(slot, 0)))
        idle_s = 0.0
        while left:
            with kafka_answers():
                fetched = self._reader.poll(timeout_ms=int(SLICE_S * 1000))
            idle_s = 0.0 if fetched else idle_s + SLICE_S
            if idle_s > READ_TIMEOUT_S:
                raise BusUnavailable(f"Kafka gave no records of {topic} for {READ_TIMEOUT_S:.0f} s")
            for slot, messages in fetched.items():
                yield from (record_from(message) for message in messages if message.offset < end[slot])
            with kafka_answers():
                left = {slot for slot in left if self._reader.position(slot) < end[slot]}


def _retention_ms(topic: str) -> str:
    kept = DEAD_RETENTION if topic.endswith(".dead") else RETENTION
    return str(int(kept.total_seconds() * 1000))
