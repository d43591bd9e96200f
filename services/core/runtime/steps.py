"""Checkpoints between the steps of a run: where a drain, a cancel or the theatre may interrupt it.

No step between two checkpoints may exceed 2 s (rule 7). A ward run that finds the theatre's lock held waits there.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from services.core.contracts.errors import Transient


class Drained(Transient):
    """The process is asked to stop: the run ends here and is taken up again by another process."""

    def __init__(self) -> None:
        super().__init__("DRAINED", "the worker is stopping")


class Checkpoint(Protocol):
    """Called by a handler between its steps."""

    def __call__(self) -> None:
        """Returns at once, waits while the theatre computes, or raises Transient when the run must end."""


class StopSignal(Protocol):
    """Says whether the process was asked to stop. `threading.Event` is one."""

    def is_set(self) -> bool:
        """True once a stop was asked for."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for a stop; True when it came."""


class WardCheckpoint:
    """Yields to the theatre: tries its lock exclusive and non-blocking, releases at once, waits while it is held.

    `on_yield` hears the seconds of every wait, also of one that a stop has ended.
    """

    def __init__(
        self,
        theatre_lock: Path,
        stop: StopSignal,
        probe_interval_s: float = 0.1,
        on_yield: Callable[[float], object] = lambda _: None,
    ) -> None:
        theatre_lock.parent.mkdir(parents=True, exist_ok=True)
        self._path = theatre_lock
        self._stop = stop
        self._interval = probe_interval_s
        self._on_yield = on_yield

    def __call__(self) -> None:
        """Raises Drained once the process is asked to stop."""
        if self._stop.is_set():
            raise Drained
        if not self._free():
            self._yield()

    def _yield(self) -> None:
        """Waits in steps: each is counted when it is over, so that a long wait shows while it lasts."""
        free = False
        while not free:
            started = time.monotonic()
            stopped = self._stop.wait(self._interval)
            self._on_yield(time.monotonic() - started)
            if stopped or self._stop.is_set():
                raise Drained
            free = self._free()

    def _free(self) -> bool:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True


class StopCheckpoint:
    """Without a theatre on the machine: only looks for a stop or a cancel."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def __call__(self) -> None:
        """Raises Drained once a stop was asked for."""
        if self._stop.is_set():
            raise Drained
