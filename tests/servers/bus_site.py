"""One bus as a test sees it: names of its own, and everything that it opened is closed at the end."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from services.core.bus.factory import open_bus
from services.core.bus.port import Admin, Bus, Consumer, Producer, Record
from services.core.contracts.errors import Transient
from services.core.runtime.home import Home

PATIENCE_S = 40.0
_Client = TypeVar("_Client", Producer, Consumer, Admin)


@dataclass
class Site:
    """A bus with the names of one test."""

    setting: str
    home: Path
    bus: Bus
    name: str
    opened: list[Producer | Consumer | Admin] = field(default_factory=list)

    def topics(self, *suffixes: str, partitions: int = 4) -> list[str]:
        """Creates topics and gives their full names."""
        names = [f"{self.name}.{suffix}" for suffix in suffixes]
        self.admin().ensure_topics(names, partitions)
        return names

    def group(self, name: str = "group") -> str:
        """A group's full name."""
        return f"{self.name}.{name}"

    def producer(self) -> Producer:
        return self._kept(self.bus.producer())

    def consumer(self, topics: Sequence[str], group: str = "group") -> Consumer:
        return self._kept(self.bus.consumer(self.group(group), topics))

    def admin(self) -> Admin:
        return self._kept(self.bus.admin())

    def close(self, opened: Producer | Consumer) -> None:
        """Closes before the end of the test."""
        self.opened.remove(opened)
        opened.close()

    def _kept(self, opened: _Client) -> _Client:
        self.opened.append(opened)
        return opened


@contextmanager
def open_site(setting: str, home: Path) -> Iterator[Site]:
    """A bus for one test."""
    site = Site(setting=setting, home=home, bus=open_bus(setting, Home(home)), name=f"t{uuid.uuid4().hex[:8]}")
    try:
        yield site
    finally:
        for opened in site.opened:
            opened.close()


class Member:
    """A member of a group that reads in a thread of its own, as a process would, and notes what it got."""

    def __init__(self, site: Site, topics: Sequence[str]) -> None:
        self.received: list[Record] = []
        self._consumer = site.bus.consumer(site.group(), topics)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Closes the consumer and ends the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for record in self._consumer.poll(0.2):
                self.received.append(record)
                with suppress(Transient):
                    self._consumer.commit(record)
        self._consumer.close()


def until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Waits for a condition. Raises AssertionError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def receive(consumer: Consumer, count: int, *, commit: bool = True, timeout_s: float = PATIENCE_S) -> list[Record]:
    """Polls until so many records came. Raises AssertionError."""
    deadline = time.monotonic() + timeout_s
    received: list[Record] = []
    while len(received) < count:
        assert time.monotonic() < deadline, f"{len(received)} of {count} records came within {timeout_s} s"
        for record in consumer.poll(0.2):
            received.append(record)
            if commit:
                consumer.commit(record)
    return received


def values(records: Sequence[Record]) -> list[str]:
    """Their values as text."""
    return [record.value.decode() for record in records]
