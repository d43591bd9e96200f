"""Looks at a running home every second or two: memory (PSS), processor time, queues. Beside it what others use.

Every sample is a row of one table; times count from the start of the load.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx
import psutil

from loadtests.figures import Row, samples
from loadtests.memory import pss_bytes, services_of
from services.core.runtime.home import Home, read_endpoints

MIB = 1 << 20
EVERY_S = 2.0


class Watch:
    """Samples while it is entered. `rows`: at_s, pss_mib and cpu_s by service, backlog by `stage lane`, machine_cpu_s
    (all processes of the machine, also others').
    """

    def __init__(self, home: Home, supervisor: psutil.Process, every_s: float = EVERY_S) -> None:
        self._home = home
        self._supervisor = supervisor
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._cpu: dict[int, tuple[str, float]] = {}
        self.started_at = time.time()
        self.rows: list[Row] = []

    def __enter__(self) -> Self:
        self.started_at = time.time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.rows.append(self.sample())

    def sample(self) -> Row:
        """One row, now."""
        groups = services_of(self._supervisor)
        for name, members in groups.items():
            for member in members:
                self._cpu[member.pid] = (name, _cpu_seconds(member, self._cpu.get(member.pid, ("", 0.0))[1]))
        cpu: dict[str, float] = {}
        for name, seconds in self._cpu.values():
            cpu[name] = cpu.get(name, 0.0) + seconds
        return {
            "at_s": round(time.time() - self.started_at, 2),
            "pss_mib": {name: round(sum(map(pss_bytes, group)) / MIB, 1) for name, group in groups.items()},
            "cpu_s": {name: round(seconds, 2) for name, seconds in cpu.items()},
            "machine_cpu_s": round(_machine_cpu_seconds(), 2),
            "backlog": self._backlog(),
        }

    def _run(self) -> None:
        while True:
            self.rows.append(self.sample())
            if self._ended.wait(self._every_s):
                return

    def _backlog(self) -> dict[str, float]:
        page = metrics_page(self._home, "gateway")
        return {f"{dict(k)['stage']} {dict(k)['lane']}": v for k, v in samples(page, "glioserve_backlog").items()}


def metrics_page(home: Home, service: str) -> str:
    """Prometheus text of a service; empty while it does not answer."""
    address = read_endpoints(home).get(service, {}).get("health")
    if address is None:
        return ""
    try:
        return httpx.get(f"http://{address}/metrics", timeout=5.0).text
    except httpx.TransportError:
        return ""


def cpu_between(rows: list[Row], from_s: float, to_s: float) -> Mapping[str, float]:
    """Processor seconds of each service between two moments, and of the whole machine under `machine`."""
    inside = [row for row in rows if from_s - EVERY_S <= row["at_s"] <= to_s + EVERY_S]
    if len(inside) < 2:
        return {}
    first, last = inside[0], inside[-1]
    used = {name: round(last["cpu_s"][name] - first["cpu_s"].get(name, 0.0), 2) for name in last["cpu_s"]}
    machine = round(last["machine_cpu_s"] - first["machine_cpu_s"], 2)
    return {**used, "machine": machine, "seconds": round(last["at_s"] - first["at_s"], 2)}


def _cpu_seconds(process: psutil.Process, known: float) -> float:
    """What the process has used so far; what was known when it has gone."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return known
    return float(times.user + times.system)


def _machine_cpu_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
