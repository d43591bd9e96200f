"""Processes of servers in tests: free ports, an end with the process that started them, a stop that always stops."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
from contextlib import suppress

STOP_TIMEOUT_S = 20.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(opened.getsockname()[1]) for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel kills the child when its parent dies (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def stop(process: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Asks a process to end, and kills it when that takes too long."""
    process.send_signal(with_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    process.kill()
    process.wait()
