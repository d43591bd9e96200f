"""What a cluster runs before it stops a pod: waits until no session is open. `python -m services.navigation.linger`.

Meanwhile the pod gets no new callers. A stop ends sessions after their running series, so a pod that merely is one too
many must not be stopped while somebody operates. It asks the process's own metrics, as Prometheus does.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from services.core.runtime.clock import Clock, SystemClock

METRIC = "glioserve_navigation_sessions"
SETTLE_S = 5.0
"""Until nobody is sent here any more: endpoints take a moment to reach every node."""
LOOK_S = 2.0
DEAF_LOOKS = 3


def linger(sessions: Callable[[], int | None], clock: Clock, sleep: Callable[[float], None], within_s: float) -> bool:
    """True once no session is open, or nobody is left to ask; False when `within_s` is over first."""
    end = clock.monotonic() + within_s
    sleep(SETTLE_S)
    deaf = 0
    while True:
        found = sessions()
        deaf = 0 if found is not None else deaf + 1
        if found == 0 or deaf >= DEAF_LOOKS:
            return True
        if clock.monotonic() >= end:
            return False
        sleep(LOOK_S)


def open_sessions(address: str) -> int | None:
    """Open sessions as host:port tells them at /metrics; None when it does not answer or does not say."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{METRIC} ")]
    return int(float(values[0])) if values else None


def main(arguments: Sequence[str]) -> int:
    """Gives the exit code: 0 nobody is here, 1 somebody still is."""
    parser = argparse.ArgumentParser(prog="linger", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="health port of the navigation in this pod")
    parser.add_argument("--within", type=float, required=True, help="seconds at most")
    asked = parser.parse_args(arguments)
    gone = linger(lambda: open_sessions(f"127.0.0.1:{asked.port}"), SystemClock(), time.sleep, asked.within)
    return 0 if gone else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
