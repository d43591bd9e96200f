"""One supervised process: start, restart with back-off, stop. It dies with its supervisor, however that dies."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
FIRST_BACKOFF_S, MAX_BACKOFF_S, HEALTHY_AFTER_S = 0.5, 30.0, 20.0
MAX_LOG_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run: name, command, whole environment, log file, niceness, and what to tidy before each start.

    The back-off doubles with every end of a process that ran for less than `healthy_after_s`.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    nice: int = 0
    healthy_after_s: float = HEALTHY_AFTER_S
    before_start: Callable[[], object] = lambda: None


@dataclass(slots=True)
class Child:
    """Owned by the supervisor's main thread: the kernel ties a child's life to the thread that started it."""

    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _backoff_s: float = FIRST_BACKOFF_S
    _started_at: float = 0.0
    _not_before: float = 0.0
    _log: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Starts the process."""
        self.spec.before_start()
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        self.shorten_log()
        self._log = self.spec.log.open("ab")
        self.process = subprocess.Popen(
            self.spec.argv,
            env=dict(self.spec.environ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=tied_to(os.getpid(), nice=self.spec.nice),  # noqa: PLW1509 - one thread; two system calls
            # Ctrl-C reaches the supervisor alone, which stops its children in order. A group, not a session: the kernel
            # shares time among sessions first (autogroup), and the ward's niceness would count for nothing.
            process_group=0,
        )
        self.starts += 1
        self._started_at = time.monotonic()

    def revive(self) -> int | None:
        """Restarts the process if it ended and its back-off is over; gives the exit code when it has just ended."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._not_before:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            return None
        lived_s = now - self._started_at
        self._backoff_s = FIRST_BACKOFF_S if lived_s > self.spec.healthy_after_s else self._backoff_s * 2
        self._not_before = now + min(self._backoff_s, MAX_BACKOFF_S)
        self._forget()
        return code

    def shorten_log(self) -> None:
        """Puts a log that is too long aside, under its writer: that one appends, and so goes on at the start."""
        log = self.spec.log
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)

    def terminate(self) -> None:
        """Asks the process to stop."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self, deadline: float) -> bool:
        """Waits until the process has ended, kills it at the deadline (monotonic); True when it ended by itself."""
        if self.process is None:
            return True
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return False
        finally:
            self._forget()
        return True

    def _forget(self) -> None:
        self.process = None
        if self._log is not None:
            self._log.close()
            self._log = None


def tied_to(parent: int, *, end: signal.Signals = signal.SIGKILL, nice: int = 0) -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends `end` to the new process when the thread that starts it ends, by any cause."""
    libc = ctypes.CDLL(None)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, end, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call took effect
            os._exit(1)
        if nice:
            os.nice(nice)

    return before_exec
