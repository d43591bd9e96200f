"""One thread that does the work while the consumer's own thread keeps polling."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self, TypeVar

from services.core.bus.port import Record

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs `work` on one record at a time, always on the same thread. The thread dies with the process."""

    def __init__(self, name: str, work: Callable[[Record], T]) -> None:
        self._work = work
        self._jobs: queue.SimpleQueue[tuple[Record, Future[T]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def submit(self, record: Record) -> Future[T]:
        """Begins with this record; the future gives what `work` returned or raised."""
        future: Future[T] = Future()
        self._jobs.put((record, future))
        return future

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets the thread end after its present job; does not wait for one that was given up."""
        self._jobs.put(None)
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            record, future = job
            try:
                future.set_result(self._work(record))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer's thread has to hear of it
                future.set_exception(error)
