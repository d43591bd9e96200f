"""Whether the services of a home are ready, asked at their health ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import httpx

from services.core.contracts.errors import Transient
from services.core.runtime.home import Home, read_endpoints

POLL_S = 0.2


def unready(home: Home, services: Sequence[str]) -> list[str]:
    """Names of services that do not (yet) say they are ready."""
    endpoints = read_endpoints(home)
    return [name for name in services if not _ready(endpoints.get(name, {}))]


def wait_ready(home: Home, services: Sequence[str], timeout_s: float, alive: Callable[[], bool]) -> None:
    """Returns when all are ready. Raises Transient when time is up or the supervisor (`alive`) has ended."""
    deadline = time.monotonic() + timeout_s
    while missing := unready(home, services):
        if not alive():
            raise Transient("NOT_STARTED", "the services did not start", f"Read the logs below {home.logs}.")
        if time.monotonic() > deadline:
            raise Transient(
                "NOT_READY",
                f"not ready in {timeout_s:.0f} s: {', '.join(missing)}",
                f"Read the logs below {home.logs}.",
            )
        time.sleep(POLL_S)


def _ready(addresses: dict[str, str]) -> bool:
    if "health" in addresses:
        url = f"http://{addresses['health']}/ready"
    elif "metrics" in addresses and "grpc" in addresses:
        url = f"http://{addresses['http']}/v2/health/ready"  # Triton
    else:
        return False
    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.TransportError:
        return False
