"""What is done with one message: work, tries, retry topic, dead letters (architecture section 6).

Runs on the loop's worker thread. It returns when the message may be committed, or when it must stay uncommitted
because the process stops. While the bus is down it keeps trying: a message is never lost and never given up for that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from services.core.bus import letters
from services.core.bus.errors import BusUnavailable
from services.core.bus.policy import RetryPolicy
from services.core.bus.port import Producer, Record
from services.core.bus.topics import dead_topic, labels_of, origin_topic, retry_topic
from services.core.contracts.errors import GlioServeError, Permanent, Transient
from services.core.runtime.clock import Clock
from services.core.telemetry.metrics import Metrics

DRAINED = "DRAINED"
UNEXPECTED = "UNEXPECTED"
log = logging.getLogger(__name__)


class Ending(Enum):
    """How a job ended. Only `LEFT` must not be committed."""

    DONE = auto()
    MOVED = auto()
    UNEXPECTED = auto()
    LEFT = auto()


class _Stopping(Exception):
    """The process stops in the middle of a wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a loop does with every message. `retry` says whether its topics have retry topics."""

    work: Callable[[Record], None]
    on_dead: Callable[[Record, GlioServeError], None]
    producer: Producer
    clock: Clock
    metrics: Metrics
    policy: RetryPolicy
    retry: bool
    stop: threading.Event

    def __call__(self, record: Record) -> Ending:
        """Sees one message through to its end."""
        try:
            return self._settle(record)
        except _Stopping:
            return Ending.LEFT

    def _settle(self, record: Record) -> Ending:
        failed_first = letters.first_tried(record)
        tries = outages = 0
        while True:
            try:
                self.work(record)
            except BusUnavailable as error:
                outages += 1
                self._pause(record, error, outages)
            except Transient as error:
                if error.code == DRAINED:
                    return Ending.LEFT
                tries += 1
                failed_first = failed_first or self.clock.now()
                ending = self._failed(record, error, tries, failed_first)
                if ending is not None:
                    return ending
            except GlioServeError as error:
                return self._bury(record, error, Ending.MOVED)
            except Exception as error:
                log.exception("bus.unexpected", extra=_where(record))
                if self.stop.is_set():  # what breaks while everything is being closed says nothing about the message
                    return Ending.LEFT
                unexpected = Permanent(UNEXPECTED, f"{type(error).__name__}; the log has the place")
                return self._bury(record, unexpected, Ending.UNEXPECTED)
            else:
                return Ending.DONE

    def _failed(self, record: Record, error: Transient, tries: int, failed_first: datetime) -> Ending | None:
        """After a transient failure: None to try again here, else the message has gone elsewhere."""
        age_s = (self.clock.now() - failed_first).total_seconds()
        delay_s = self.policy.retry_delay_s if self.retry else 0.0
        if tries < self.policy.tries or (not self.retry and age_s < self.policy.budget_s):
            self._pause(record, error, tries)
            return None
        if age_s + delay_s < self.policy.budget_s:
            return self._postpone(record, error, failed_first)
        message = f"gave up {age_s:.0f} s after the first of {letters.retries(record) + 1} rounds: {error.message}"
        return self._bury(record, Permanent(error.code, message, error.advice), Ending.MOVED)

    def _postpone(self, record: Record, error: Transient, failed_first: datetime) -> Ending:
        headers = letters.retry_headers(record, failed_first, self.clock.now(), self.policy.retry_delay_s)
        target = retry_topic(origin_topic(record.topic))
        self._insist(record, lambda: self.producer.send(target, record.key, record.value, headers))
        self.metrics.retries.labels(*labels_of(record.topic)).inc()
        log.warning("bus.postponed", extra={**_where(record), "code": error.code})
        return Ending.MOVED

    def _bury(self, record: Record, error: GlioServeError, ending: Ending) -> Ending:
        target = dead_topic(origin_topic(record.topic))
        headers = letters.dead_headers(record, error)
        self._insist(record, lambda: self.producer.send(target, record.key, record.value, headers))
        self._insist(record, lambda: self._tell(record, error))
        self.metrics.dead_letters.labels(target, error.code).inc()
        log.error("bus.dead_letter", extra={**_where(record), "code": error.code})
        return ending

    def _tell(self, record: Record, error: GlioServeError) -> None:
        try:
            self.on_dead(record, error)
        except Transient:
            raise
        except Exception:  # the letter is kept; the gateway's reconciler notices the silence
            log.exception("bus.on_dead_failed", extra=_where(record))

    def _insist(self, record: Record, action: Callable[[], None]) -> None:
        """Repeats until it succeeds. Raises _Stopping."""
        failures = 0
        while True:
            try:
                return action()
            except Transient as error:
                failures += 1
                self._pause(record, error, failures)

    def _pause(self, record: Record, error: Transient, failures: int) -> None:
        log.warning("bus.try_again", extra={**_where(record), "code": error.code, "attempt": failures})
        if self.stop.wait(self.policy.backoff(failures)):
            raise _Stopping


def _where(record: Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
