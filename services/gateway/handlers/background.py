"""What the gateway does by itself: send the outbox, ask after silent requests, close quiet studies."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from services.core.bus.port import Admin, Producer
from services.core.bus.topics import request_topic, stage_group
from services.core.runtime.clock import Clock
from services.core.runtime.failpoints import Failpoints
from services.core.telemetry.metrics import Metrics
from services.gateway.domain.history import HistoryEvent
from services.gateway.ports import PendingRequest, StateStore

BATCH = 100
KEEP_SENT = timedelta(days=1)
log = logging.getLogger(__name__)


class OutboxRelay:
    """Sends what the outbox holds, in order, and marks it after. A crash between sends it twice: requests bear that."""

    def __init__(
        self, state: StateStore, producer: Producer, clock: Clock, failpoints: Failpoints, metrics: Metrics
    ) -> None:
        self._state = state
        self._producer = producer
        self._clock = clock
        self._failpoints = failpoints
        self._metrics = metrics

    def sweep(self) -> int:
        """Sends until nothing is left; gives how many. Raises Transient: what is left is sent by the next sweep."""
        sent = 0
        while found := self._sent_batch():
            sent += found
        self._metrics.outbox_pending.set(0)
        return sent

    def _sent_batch(self) -> int:
        with self._state.claim(BATCH) as claim:
            self._metrics.outbox_pending.set(len(claim.rows))
            for row in claim.rows:
                self._failpoints.hit("gateway.before_outbox_send")
                self._producer.send(row.topic, row.key, row.value, row.headers)
                self._failpoints.hit("gateway.after_outbox_send")
                claim.mark(row, self._clock.now())
        return len(claim.rows)


class Reconciler:
    """Sends a silent request again, once per budget (rule 5).

    Silent: the stage's group has committed beyond it longer ago than the budget, and no outcome came; or the bus does
    not hold it at all (another bus was chosen, its data were lost). One that is queued, or lies in the outbox, is not.
    """

    def __init__(self, state: StateStore, admin: Admin, clock: Clock, budget_s: float) -> None:
        self._state = state
        self._admin = admin
        self._clock = clock
        self._budget = timedelta(seconds=budget_s)

    def sweep(self) -> int:
        """Gives how many requests were sent again. Raises Transient."""
        now = self._clock.now()
        self._state.forget_sent(now - KEEP_SENT)
        all_sent = not self._state.unsent(1)
        silent = [p for p in self._state.pending(now - self._budget) if self._is_silent(p, now, all_sent=all_sent)]
        for found in silent:
            request = found.request
            with self._state.write() as transaction:
                transaction.lock(request.study.patient, now)
                transaction.send_again(request, now)
                transaction.add_history(
                    request.study.study,
                    request.study.version,
                    HistoryEvent.SENT_AGAIN,
                    now,
                    stage=request.stage,
                    request_id=request.request_id,
                )
            log.warning(
                "request.silent",
                extra={
                    "request_id": request.request_id,
                    "stage": request.stage,
                    "study": request.study.study,
                    "lane": request.lane,
                },
            )
        return len(silent)

    def _is_silent(self, found: PendingRequest, now: datetime, *, all_sent: bool) -> bool:
        request = found.request
        topic = request_topic(request.stage, request.lane)
        passed = self._admin.position_passed(stage_group(request.stage), topic, request.request_id)
        if passed is None:
            return all_sent and not self._admin.holds(topic, request.request_id)
        return passed < now - self._budget
