"""What every bus promises, for the embedded log and for Kafka alike.

Three offsets of a consumer group on a partition:
- *position*: the next record that `poll` would hand out;
- *handed out*: records returned by `poll` and not yet committed;
- *committed*: everything before it is done; after a crash or a rebalance, delivery goes on from here.

A record is therefore delivered at least once. Records of one key arrive in the order in which they were produced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One message as read: where it stands, its key, its bytes, its headers, and when it was produced."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    produced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPartition:
    """One partition of one topic."""

    topic: str
    partition: int


class Producer(Protocol):
    """Writes records."""

    def send(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Returns when the record is durable (acks=all, idempotent). Raises Transient when it may not be."""

    def close(self) -> None:
        """Releases connections."""


class Consumer(Protocol):
    """One member of a consumer group. Used from one thread."""

    def poll(self, timeout_s: float, max_records: int = 1) -> Sequence[Record]:
        """The next records of the partitions that are not paused, at once or within `timeout_s`; may be empty.

        Must be called at least every few seconds, also while everything is paused: it keeps the membership alive.
        """

    def pause(self, topics: Sequence[str]) -> None:
        """Stops handing out records of these topics until `resume`; survives a rebalance."""

    def resume(self, topics: Sequence[str]) -> None:
        """Hands out records of these topics again."""

    def commit(self, record: Record) -> None:
        """Marks everything up to and with this record of its partition as done. Raises Transient when fenced."""

    def seek_back(self, record: Record) -> None:
        """Hands this record out again on the next poll."""

    def defer(self, record: Record, delay_s: float) -> None:
        """Hands this record out again after `delay_s`. Only its own partition waits for it."""

    def lag_seconds(self) -> Mapping[str, float]:
        """Per topic: age of the oldest record of this group that is not committed; 0 when there is none.

        A bus may see only the partitions that this member owns; the group's lag is the largest of its members'.
        """

    def close(self) -> None:
        """Leaves the group at once, so that others take over without waiting for a time-out."""


class Admin(Protocol):
    """What operators and the reconciler ask of a bus."""

    def ensure_topics(self, topics: Sequence[str], partitions: int) -> None:
        """Creates the topics that are not there."""

    def position_passed(self, group: str, record_topic: str, request_id: str) -> datetime | None:
        """When the group's committed offset passed the newest record with header `request_id`, or None if queued.

        Where the bus does not know when, the time of the record stands in. Absent record: None.
        """

    def holds(self, record_topic: str, request_id: str) -> bool:
        """Whether a record with header `request_id` is still kept: one that is neither queued nor passed was lost."""

    def backlog(self, group: str, topic: str) -> int:
        """Records of the topic that the group has not committed."""

    def browse(self, topic: str) -> Iterator[Record]:
        """Every record of the topic that is still kept, up to now, without joining a group. Order per partition."""

    def close(self) -> None:
        """Releases connections."""


class Bus(Protocol):
    """Opens producers, consumers and the admin of one bus."""

    def producer(self) -> Producer:
        """A producer; safe to use from several threads."""

    def consumer(self, group: str, topics: Sequence[str]) -> Consumer:
        """Joins the group. A new group starts at the beginning of the topics.

        The order of `topics` is their priority: a record of an earlier topic is handed out before one of a later.
        """

    def admin(self) -> Admin:
        """The operator's view."""
