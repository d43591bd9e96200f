"""A consumer loop on the real embedded log, in a thread, with a clock that a test can turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.core.bus.embedded import EmbeddedBus
from services.core.bus.loop import ConsumerLoop, LoopSpec, RetryPolicy
from services.core.bus.port import Record
from services.core.bus.topics import retry_topic
from services.core.contracts.errors import GlioServeError
from services.core.runtime.failpoints import Failpoints
from services.core.telemetry.metrics import Metrics

STAT = "glioserve.study.segment.stat.v1"
ROUTINE = "glioserve.study.segment.routine.v1"
GROUP = "glioserve.segment"
QUICK = RetryPolicy(backoff_s=0.001, backoff_limit_s=0.01, drain_s=5.0)


class TurnableClock:
    """Real monotonic time; wall time can be turned forward."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()


class Bench:
    """A loop in a thread, what it did, and the log it reads."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = TurnableClock()
        self.bus = EmbeddedBus(home / "bus" / "log.sqlite", self.clock)
        self.metrics = Metrics(CollectorRegistry())
        self.worked: list[Record] = []
        self.dead: list[tuple[Record, GlioServeError]] = []
        self.behave: Callable[[Record], None] = lambda _: None
        self.on_dead: Callable[[Record], None] = lambda _: None
        self.stop = threading.Event()

    def loop(self, *, retry: bool = True, policy: RetryPolicy = QUICK) -> ConsumerLoop:
        return ConsumerLoop(
            self.bus,
            LoopSpec(group=GROUP, topics=(STAT, ROUTINE), retry=retry),
            work=self._work,
            on_dead=self._dead,
            clock=self.clock,
            metrics=self.metrics,
            failpoints=Failpoints(self.home),
            policy=policy,
        )

    @contextmanager
    def running(self, loop: ConsumerLoop) -> Iterator[None]:
        thread = threading.Thread(target=loop.run, args=(self.stop,))
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join(timeout=20)
            assert not thread.is_alive()
            self.stop.clear()

    def send(
        self, value: bytes, topic: str = ROUTINE, key: str = "k", headers: Mapping[str, str] | None = None
    ) -> None:
        with closing(self.bus.producer()) as producer:
            producer.send(topic, key, value, headers)

    def kept(self, topic: str) -> list[Record]:
        with closing(self.bus.admin()) as admin:
            return list(admin.browse(topic))

    def backlog(self) -> int:
        with closing(self.bus.admin()) as admin:
            return sum(admin.backlog(GROUP, name) for topic in (STAT, ROUTINE) for name in (topic, retry_topic(topic)))

    def values(self) -> list[bytes]:
        return [record.value for record in self.worked]

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def _work(self, record: Record) -> None:
        self.worked.append(record)
        self.behave(record)

    def _dead(self, record: Record, error: GlioServeError) -> None:
        self.on_dead(record)
        self.dead.append((record, error))
