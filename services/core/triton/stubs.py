"""Python stubs that outlive a killed tritonserver, found by the shared memory that their command line names.

Stubs watch for their server's death, but one that waits for the server just then (while models are loaded) holds the
interpreter's lock, and every watch inside it waits for that lock. So whoever starts servers ends such stubs himself.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_STUB = b"triton_python_backend_stub"
_PROC = Path("/proc")
_END_S = 5.0


def end_orphaned_stubs(regions: str) -> list[int]:
    """Kills the stubs whose region's name starts with `regions`, waits until they are gone, gives their numbers."""
    stubs = _stubs(regions.encode())
    for pid in stubs:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    end = time.monotonic() + _END_S
    while _stubs(regions.encode()) and time.monotonic() < end:
        time.sleep(0.01)
    return stubs


def _stubs(regions: bytes) -> list[int]:
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            program, *words = _command_line(folder)
            if program.endswith(_STUB) and any(word.startswith(regions) for word in words):
                found.append(int(folder.name))
    return found


def _command_line(process: Path) -> list[bytes]:
    """Empty words for a process that has ended, reaped or not."""
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return [b""]
