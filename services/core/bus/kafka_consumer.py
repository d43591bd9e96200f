"""A member of a consumer group on Kafka.

Kafka knows no priority and pauses partitions, not topics. So this side keeps a few records per partition in hand and
gives them out by the order of the topics; a pause is only a matter of giving out, and survives every rebalance. What
is in hand of a partition is forgotten when the partition goes.
"""

from __future__ import annotations

import queue
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import MemberState

from services.core.bus.errors import Fenced
from services.core.bus.kafka_assignor import NumberAssignor
from services.core.bus.kafka_wire import CONNECTION, kafka_answers, record_from
from services.core.bus.port import Record

IN_HAND = 16
"""Records kept per partition before its fetching is paused."""
FETCH_BYTES = 64 * 1024
"""At most so much of a partition in one fetch; a larger record still comes."""
ALL_FETCHED = 1_000_000
"""kafka-python 3.0.12 loses a partition that is paused while it holds part of a fetch back (it parks the rest and never
looks there again: `Fetcher.fetched_records`), so every poll takes all of what was fetched."""
SLICE_S = 0.1
SHORTEST_S = 0.01
COMMIT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0
SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 1.0
MAX_POLL_INTERVAL_S = 30.0
JOIN_PATIENCE_S = 5.0
"""While the group rebalances, polls follow each other without a pause for so long: see `_keep_joining`."""


@dataclass(slots=True)
class _Held:
    """A partition of ours: fetched and not handed out, handed out and not committed, what is done, what waits."""

    ready: deque[Record] = field(default_factory=deque)
    out: list[Record] = field(default_factory=list)
    floor: int = 0
    not_before: float = 0.0
    stopped: bool = False


class _Changes(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs on the client's own thread: only notes what happened, in order."""

    def __init__(self) -> None:
        self.noted: queue.SimpleQueue[tuple[bool, frozenset[TopicPartition]]] = queue.SimpleQueue()

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.noted.put((False, frozenset(revoked)))

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.noted.put((True, frozenset(assigned)))


class KafkaGroupConsumer:
    """Implements `port.Consumer`. Used from one thread."""

    def __init__(self, servers: Sequence[str], group: str, topics: Sequence[str]) -> None:
        self._topics = tuple(topics)
        self._paused: set[str] = set()
        self._held: dict[TopicPartition, _Held] = {}
        self._changes = _Changes()
        with kafka_answers():
            self._client = KafkaConsumer(
                bootstrap_servers=list(servers),
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                partition_assignment_strategy=(NumberAssignor,),
                max_poll_records=ALL_FETCHED,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=100,
                session_timeout_ms=int(SESSION_TIMEOUT_S * 1000),
                heartbeat_interval_ms=int(HEARTBEAT_S * 1000),
                max_poll_interval_ms=int(MAX_POLL_INTERVAL_S * 1000),
                **CONNECTION,
            )
            self._client.subscribe(self._topics, listener=self._changes)

    def poll(self, timeout_s: float, max_records: int = 1) -> Sequence[Record]:
        """See the port. Raises BusUnavailable."""
        deadline = time.monotonic() + timeout_s
        self._fetch(0.0)
        if not self._best_in_hand():
            self._fetch(SHORTEST_S)
        while not (taken := self._hand_out(max_records)) and (left := deadline - time.monotonic()) > 0:
            self._fetch(min(left, SLICE_S))
        return taken

    def pause(self, topics: Sequence[str]) -> None:
        self._paused.update(topics)

    def resume(self, topics: Sequence[str]) -> None:
        self._paused.difference_update(topics)

    def commit(self, record: Record) -> None:
        """See the port. Raises Fenced, BusUnavailable (also during a rebalance: poll, then try again)."""
        self._note_changes()
        slot = TopicPartition(record.topic, record.partition)
        held = self._held.get(slot)
        if held is None:
            raise Fenced(record.topic, record.partition)
        upto = record.offset + 1
        with kafka_answers():
            if any(out.offset == record.offset for out in held.out) or self._committed(slot) < upto:
                self._client.commit({slot: OffsetAndMetadata(upto, "", -1)}, timeout_ms=COMMIT_TIMEOUT_S * 1000)
        held.out = [out for out in held.out if out.offset >= upto]
        held.ready = deque(ready for ready in held.ready if ready.offset >= upto)
        held.floor = max(held.floor, upto)

    def seek_back(self, record: Record) -> None:
        self.defer(record, 0.0)

    def defer(self, record: Record, delay_s: float) -> None:
        held = self._held.get(TopicPartition(record.topic, record.partition))
        if held is None:
            return
        held.ready.extendleft(reversed([out for out in held.out if out.offset >= record.offset]))
        held.out = [out for out in held.out if out.offset < record.offset]
        held.not_before = time.monotonic() + delay_s

    def lag_seconds(self) -> Mapping[str, float]:
        """See the port; here it covers the partitions that this member owns, from the time-stamps of records."""
        now = datetime.now(UTC)
        oldest: dict[str, datetime] = {}
        for slot, held in self._held.items():
            for record in (*held.out[:1], *list(held.ready)[:1]):
                oldest[slot.topic] = min(oldest.get(slot.topic, now), record.produced_at)
        return {topic: (now - oldest.get(topic, now)).total_seconds() for topic in self._topics}

    def close(self) -> None:
        with suppress(KafkaError):  # whoever cannot say goodbye is missed after the session time-out
            self._client.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_S * 1000)

    def _committed(self, slot: TopicPartition) -> int:
        return self._client.committed(slot, timeout_ms=COMMIT_TIMEOUT_S * 1000) or 0

    def _best_in_hand(self) -> bool:
        """Whether a record of the first topic is there. Otherwise it is worth asking the broker for one."""
        return any(held.ready for slot, held in self._held.items() if slot.topic == self._topics[0])

    def _fetch(self, timeout_s: float) -> bool:
        with kafka_answers():
            fetched = self._client.poll(timeout_ms=int(timeout_s * 1000))
            give_up_at = time.monotonic() + JOIN_PATIENCE_S
            while not fetched and self._keep_joining() and time.monotonic() < give_up_at:
                fetched = self._client.poll(timeout_ms=int(SLICE_S * 1000))
        self._note_changes()
        for slot, messages in fetched.items():
            held = self._held.get(slot)
            if held is not None:
                held.ready.extend(record_from(message) for message in messages if message.offset >= held.floor)
        self._limit()
        return bool(fetched)

    def _keep_joining(self) -> bool:
        """Whether a join is under way that the next poll has to complete.

        Only a poll completes a join. kafka-python 3.0.12 forgets one that the broker answered between two polls: it
        joins again, and with it all others (`join_group_async`), or, when new metadata had asked for the join, never
        again (`need_rejoin`). Asking for it explicitly costs nothing while it is under way.
        """
        if self._client.group_metadata().state != MemberState.REBALANCING:
            return False
        self._client._coordinator.request_rejoin()  # noqa: SLF001 - there is no public way
        return True

    def _limit(self) -> None:
        for slot, held in self._held.items():
            full = len(held.ready) >= IN_HAND
            if full and not held.stopped:
                self._client.pause(slot)
            elif held.stopped and len(held.ready) < IN_HAND // 2:
                self._client.resume(slot)
            else:
                continue
            held.stopped = full

    def _note_changes(self) -> None:
        while not self._changes.noted.empty():
            gained, slots = self._changes.noted.get()
            for slot in slots:
                if gained:
                    self._held[slot] = _Held()
                else:
                    self._held.pop(slot, None)

    def _hand_out(self, wanted: int) -> list[Record]:
        """By the order of topics; within a topic the oldest first."""
        taken: list[Record] = []
        now = time.monotonic()
        by_topic: dict[str, list[_Held]] = defaultdict(list)
        for slot, held in self._held.items():
            if held.not_before <= now and slot.topic not in self._paused:
                by_topic[slot.topic].append(held)
        for topic in self._topics:
            while len(taken) < wanted and (filled := [held for held in by_topic[topic] if held.ready]):
                held = min(filled, key=lambda candidate: candidate.ready[0].produced_at)
                record = held.ready.popleft()
                held.out.append(record)
                taken.append(record)
        return taken
