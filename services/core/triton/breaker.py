"""Circuit breaker, one a model: after some failures in a row nobody waits for a broken server.

closed --`threshold` failures in a row--> open --after `pause_s`--> half open: one call may try
half open --success--> closed, --failure--> open
"""

from __future__ import annotations

import threading

from services.core.runtime.clock import Clock


class CircuitBreaker:
    """Counts failures that tell about the server's health. Safe to share between threads."""

    def __init__(self, clock: Clock, *, threshold: int = 3, pause_s: float = 2.0) -> None:
        self._clock = clock
        self._threshold = threshold
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._failures = 0
        self._shut_until: float | None = None

    def allows(self) -> bool:
        """False while open. When the pause is over one caller is let through; the others wait for what it finds."""
        with self._lock:
            if self._shut_until is None:
                return True
            now = self._clock.monotonic()
            if now < self._shut_until:
                return False
            self._shut_until = now + self._pause_s
            return True

    def succeeded(self) -> None:
        """The server answered, if only to refuse."""
        with self._lock:
            self._failures = 0
            self._shut_until = None

    def failed(self) -> None:
        """The server did not answer, or answered that it is broken."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._threshold:
                self._shut_until = self._clock.monotonic() + self._pause_s
