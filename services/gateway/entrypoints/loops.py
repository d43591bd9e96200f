"""The gateway's own threads: outbox relay, outcome consumer, reconciler, closing of quiet studies. Top-level loops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from services.core.bus.port import Record
from services.core.contracts.errors import GlioServeError, Permanent
from services.core.contracts.wire import decode_outcome
from services.core.telemetry.tracing import continued
from services.gateway.handlers.progress import FlowPorts, take_outcome

BACKOFF_S = 2.0
log = logging.getLogger(__name__)


class OutcomeDoor:
    """What the consumer loop does with records of the outcome topic."""

    def __init__(self, ports: FlowPorts) -> None:
        self._ports = ports

    def work(self, record: Record) -> None:
        """Raises Permanent on what is no outcome or answers no request (dead letter), Transient when it must wait."""
        try:
            outcome = decode_outcome(record.value)
        except ValueError as error:
            raise Permanent("NOT_AN_OUTCOME", f"the message cannot be read: {error}") from error
        with continued("gateway outcome", record.headers):
            counted = take_outcome(outcome, self._ports)
            log.info(
                "outcome.taken" if counted else "outcome.repeated",
                extra={
                    "study": outcome.study.study,
                    "version": outcome.study.version,
                    "stage": outcome.stage,
                    "status": outcome.status,
                    "request_id": outcome.request_id,
                    "run_id": outcome.run_id,
                },
            )

    def dead(self, record: Record, error: GlioServeError) -> None:
        """An outcome that cannot be used is kept in the dead letters; the reconciler asks for another."""
        log.error("outcome.dead", extra={"code": error.code, "topic": record.topic, "offset": record.offset})


class Sweeper:
    """Calls `sweep` again and again on a thread of its own: after its interval, or at once when `wake` is set."""

    def __init__(
        self, name: str, sweep: Callable[[], object], interval_s: float, wake: threading.Event | None = None
    ) -> None:
        self._name = name
        self._sweep = sweep
        self._interval_s = interval_s
        self._wake = wake
        self._failing = False

    def healthy(self) -> bool:
        """True unless its last sweep failed."""
        return not self._failing

    def run(self, stop: threading.Event) -> None:
        """Until the stop. A failure is logged and tried again: this thread must not die."""
        while not stop.is_set():
            if self._wake is not None:
                self._wake.clear()
            try:
                self._sweep()
                self._failing = False
            except GlioServeError as error:
                self._failing = True
                log.warning("sweep.failed", extra={"kind": self._name, "code": error.code})
            except Exception:  # a top-level loop (house style 3.5)
                self._failing = True
                log.exception("sweep.unexpected", extra={"kind": self._name})
            self._pause(stop)

    def _pause(self, stop: threading.Event) -> None:
        seconds = BACKOFF_S if self._failing else self._interval_s
        if self._wake is None or self._failing:
            stop.wait(seconds)
        else:
            self._wake.wait(seconds)
