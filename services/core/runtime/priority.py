"""Real-time priority for what must answer within milliseconds while every core is busy."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LOWEST = 1
_THREADS = Path("/proc/self/task")


def take_real_time() -> bool:
    """Puts the threads of this process, and those that they start later, before all ordinary work (SCHED_RR, lowest
    priority).

    False where the machine does not permit it (RLIMIT_RTPRIO, CAP_SYS_NICE) or knows no such thing; then nothing has
    changed. The kernel keeps a share of every core for the others (sched_rt_runtime_us), so that a mistake does not
    stop the machine.
    """
    try:
        for thread in _THREADS.iterdir():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(_LOWEST))
    except OSError:
        return False
    return True
