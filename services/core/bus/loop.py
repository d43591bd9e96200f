"""The consumer loop of every stage and of the gateway.

One thread owns the consumer and never stops polling; one worker thread does the work. A record is handed out, its
topics are paused, the work runs, its offset is committed, the topics are resumed: at least once, in the order of
each key, and no long job ever loses the membership.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from services.core.bus import letters
from services.core.bus.errors import BusUnavailable, Fenced
from services.core.bus.job import Ending, Job
from services.core.bus.policy import RetryPolicy
from services.core.bus.port import Bus, Consumer, Producer, Record
from services.core.bus.topics import retry_topic
from services.core.bus.worker import Worker
from services.core.contracts.errors import GlioServeError, Transient
from services.core.runtime.clock import Clock
from services.core.runtime.failpoints import Failpoint, Failpoints
from services.core.telemetry.metrics import Metrics

__all__ = ["ConsumerLoop", "LoopSpec", "RetryPolicy"]

POLL_S = 0.5
ATTEND_S = 0.25
LAG_INTERVAL_S = 5.0
STALLED_S = 45.0
_Opened = TypeVar("_Opened")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSpec:
    """What a loop reads: topics by priority, the first strictly before the second.

    With `retry` a transient failure goes to `<topic>.retry`, which is read too; without it the message is tried again
    in its place, and those behind it wait. `after_commit` is the failpoint after a commit.
    """

    group: str
    topics: tuple[str, ...]
    retry: bool
    after_commit: Failpoint | None = "stage.after_commit"

    @property
    def subscribed(self) -> tuple[str, ...]:
        """All topics to read, by priority: a second try comes before first tries of the next lane."""
        if not self.retry:
            return self.topics
        return tuple(name for topic in self.topics for name in (topic, retry_topic(topic)))


class ConsumerLoop:
    """Reads, works, commits, until told to stop. `work` produces its own output before it returns."""

    def __init__(  # noqa: PLR0913 - the seams of a loop; every one is a port
        self,
        bus: Bus,
        spec: LoopSpec,
        *,
        work: Callable[[Record], None],
        on_dead: Callable[[Record, GlioServeError], None],
        clock: Clock,
        metrics: Metrics,
        failpoints: Failpoints,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._bus = bus
        self._spec = spec
        self._work = work
        self._on_dead = on_dead
        self._clock = clock
        self._metrics = metrics
        self._failpoints = failpoints
        self._policy = policy or RetryPolicy()
        self._unexpected_in_a_row = 0
        self._moved_at: float | None = None
        self._lag_at = 0.0
        metrics.brake.labels(spec.group).set(0)

    @property
    def braked(self) -> bool:
        """True once too many messages in a row failed unexpectedly: nothing is consumed until a restart."""
        return self._unexpected_in_a_row >= self._policy.brake_after

    def alive(self) -> bool:
        """Whether the polling thread runs and moves."""
        return self._moved_at is not None and self._clock.monotonic() - self._moved_at < STALLED_S

    def run(self, stop: threading.Event) -> None:
        """Consumes until `stop` is set; survives a bus that goes away. A job in hand may end within the drain time."""
        self._tick(None)
        producer = self._opened(self._bus.producer, stop)
        if producer is None:
            return
        with Worker(f"work-{self._spec.group}", self._job(producer, stop)) as worker:
            while not stop.is_set() and not self.braked:
                self._session(worker, stop)
            while not stop.wait(POLL_S):
                self._tick(None)
        producer.close()
        self._moved_at = None

    def _job(self, producer: Producer, stop: threading.Event) -> Job:
        return Job(
            work=self._work,
            on_dead=self._on_dead,
            producer=producer,
            clock=self._clock,
            metrics=self._metrics,
            policy=self._policy,
            retry=self._spec.retry,
            stop=stop,
        )

    def _session(self, worker: Worker[Ending], stop: threading.Event) -> None:
        """One membership in the group, until the stop, the brake, or an error of the bus."""
        consumer = self._opened(lambda: self._bus.consumer(self._spec.group, self._spec.subscribed), stop)
        if consumer is None:
            return
        try:
            while not stop.is_set() and not self.braked:
                self._tick(consumer)
                for record in consumer.poll(POLL_S):
                    self._take(consumer, worker, record, stop)
        except BusUnavailable as error:
            log.warning("bus.unavailable", extra={"group": self._spec.group, "code": error.code})
            stop.wait(self._policy.backoff(1))
        finally:
            with suppress(Transient):  # others take over when the membership has lapsed
                consumer.close()

    def _take(self, consumer: Consumer, worker: Worker[Ending], record: Record, stop: threading.Event) -> None:
        delay_s = letters.wait_s(record, self._clock.now())
        if delay_s > 0:
            consumer.defer(record, delay_s)
            return
        consumer.pause(self._spec.subscribed)
        ending = self._attend(consumer, worker.submit(record), stop)
        if ending is Ending.LEFT:
            consumer.seek_back(record)
            stop.wait(self._policy.backoff(1))
        else:
            self._commit(consumer, record, stop)
            self._count(ending)
        consumer.resume(self._spec.subscribed)

    def _attend(self, consumer: Consumer, future: Future[Ending], stop: threading.Event) -> Ending:
        """Polls until the work has ended; after a stop for at most the drain time."""
        drained_by: float | None = None
        while not wait([future], timeout=ATTEND_S).done:
            with suppress(BusUnavailable):  # the work goes on; the commit will see what has become of the bus
                consumer.poll(0)
                self._tick(consumer)
            if stop.is_set():
                drained_by = drained_by or self._clock.monotonic() + self._policy.drain_s
                if self._clock.monotonic() > drained_by:
                    log.warning("bus.abandoned", extra={"group": self._spec.group})
                    return Ending.LEFT
        return future.result()

    def _commit(self, consumer: Consumer, record: Record, stop: threading.Event) -> None:
        """Commits, however long the bus is away. Raises BusUnavailable when only a new membership can help."""
        give_up_at = self._clock.monotonic() + self._policy.commit_patience_s
        failures = 0
        while True:
            try:
                consumer.commit(record)
                break
            except Fenced:
                log.info("bus.fenced", extra={"topic": record.topic, "partition": record.partition})
                return
            except BusUnavailable:
                failures += 1
                if stop.wait(self._policy.backoff(failures)) or self._clock.monotonic() > give_up_at:
                    raise
                self._tick(None)
                with suppress(BusUnavailable):
                    consumer.poll(0)
        if self._spec.after_commit:
            with suppress(Transient):  # nothing is left that could be tried again
                self._failpoints.hit(self._spec.after_commit)

    def _count(self, ending: Ending) -> None:
        if ending is Ending.DONE:
            self._unexpected_in_a_row = 0
        elif ending is Ending.UNEXPECTED:
            self._unexpected_in_a_row += 1
        if self.braked:
            self._metrics.brake.labels(self._spec.group).set(1)
            log.critical("bus.brake", extra={"group": self._spec.group, "count": self._unexpected_in_a_row})

    def _opened(self, open_it: Callable[[], _Opened], stop: threading.Event) -> _Opened | None:
        failures = 0
        while not stop.is_set():
            self._tick(None)
            try:
                return open_it()
            except BusUnavailable as error:
                failures += 1
                log.warning("bus.unavailable", extra={"group": self._spec.group, "code": error.code})
                stop.wait(self._policy.backoff(failures))
        return None

    def _tick(self, consumer: Consumer | None) -> None:
        """Says that the thread moves, and now and then how far behind it is."""
        now = self._clock.monotonic()
        self._moved_at = now
        if consumer is not None and now >= self._lag_at:
            self._lag_at = now + LAG_INTERVAL_S
            for topic, seconds in consumer.lag_seconds().items():
                self._metrics.lag_seconds.labels(topic).set(seconds)
