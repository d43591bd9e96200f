"""The theatre's lock (rule 7): held shared while a series is in flight; ward workers find it taken and wait."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.core.telemetry.metrics import Metrics


class FileLock:
    """The port `TheatreLock`: one flock for all holders of this process. The kernel frees it when the process dies."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path = path
        self._gauge = metrics.theatre_lock_held
        self._mutex = threading.Lock()
        self._holders = 0
        self._handle = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds it. A ward worker that is trying holds it for microseconds only, so this does not wait long."""
        self._take()
        try:
            yield
        finally:
            self._give()

    def _take(self) -> None:
        with self._mutex:
            if self._holders == 0:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._handle, fcntl.LOCK_SH)
                self._gauge.set(1)
            self._holders += 1

    def _give(self) -> None:
        with self._mutex:
            self._holders -= 1
            if self._holders == 0:
                os.close(self._handle)
                self._gauge.set(0)
