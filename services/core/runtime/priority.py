"""Real-time priority for what must answer within milliseconds while every core is busy."""

from __future__ import annotations

import os

_LOWEST = 1


def take_real_time() -> bool:
    """Puts the calling thread, and threads that it starts later, before all ordinary work (SCHED_RR, lowest priority).

    False where the machine does not permit it (RLIMIT_RTPRIO, CAP_SYS_NICE); nothing has changed then. The kernel
    keeps a share of every core for the others (sched_rt_runtime_us), so that a mistake does not stop the machine.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_LOWEST))
    except PermissionError:
        return False
    return True
