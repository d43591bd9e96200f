"""Stands in for the kubelet where it matters: one real stage process for each ready pod of a deployment.

A pod that becomes ready starts `python -m services.<stage>` with the settings that the pod states for bus and stage;
a pod that goes sends it SIGTERM. Everything else of the pod (image, probes, volumes, network) stays on paper.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import psutil

from services.core.runtime.home import Home
from tests.cluster.api import Json, is_ready
from tests.cluster.programs import Program
from tests.servers.processes import free_ports

MOST = 2
AT_WORK_EVERY_S, AT_WORK_S = 2.0, 0.15
"""How often the processor time of the processes is read, and how much of it between two readings is work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Whose pods are followed, and the service and home of their processes."""

    pods: Callable[[], list[Json]]
    service: str
    home: Home


@dataclass(slots=True)
class StageRunner:
    """Call `step` often, from one thread: the kernel ties the processes to it."""

    followed: Followed
    running: dict[str, Program] = field(default_factory=dict)
    leaving: list[Program] = field(default_factory=list)
    ended: list[Program] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    _health: dict[str, int] = field(default_factory=dict)
    _looked: float = 0.0
    _spent: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def step(self) -> bool:
        """Starts and stops processes until they match the ready pods. Always True; fails on one that ended unasked."""
        ready = {str(pod["metadata"]["name"]): pod for pod in self.followed.pods() if is_ready(pod)}
        for name in [name for name in self.running if name not in ready]:
            program = self.running.pop(name)
            self.tell(f"pod {name} is gone: SIGTERM to process {program.pid}")
            program.terminate()
            self.leaving.append(program)
        for name, pod in ready.items():
            if name not in self.running and len(self.running) < MOST:
                self._start(name, pod)
        for program in self.running.values():
            assert program.alive(), f"{program.name} ended unasked:\n{program.said()}"
        for program in [program for program in self.leaving if not program.alive()]:
            self.leaving.remove(program)
            self.ended.append(program)
            self.tell(f"the process of {program.name} ended with exit code {program.wait()}")
        return True

    def all_at_work(self, count: int) -> bool:
        """Whether so many processes are ready and have computed in the last seconds: an idle one only polls."""
        if not len(self.running) == count == sum(map(self._says_ready, self.running)):
            return False
        now = time.monotonic()
        if now - self._looked < AT_WORK_EVERY_S:
            return False
        before, self._looked = self._spent, now
        self._spent = {name: sum(psutil.Process(program.pid).cpu_times()[:2]) for name, program in self.running.items()}
        return all(spent - before.get(name, spent) > AT_WORK_S for name, spent in self._spent.items())

    def stop(self) -> None:
        """Stops every process."""
        for program in (*self.running.values(), *self.leaving):
            program.terminate()
        for program in (*self.running.values(), *self.leaving):
            program.wait(60)
        self.running.clear()

    def tell(self, line: str) -> None:
        """Adds to the story, with seconds since its begin."""
        self.story.append(f"{time.monotonic() - self._began:6.1f} s  {line}")
        sys.stdout.write(f"{self.story[-1]}\n")

    def _says_ready(self, name: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._health[name]}/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _start(self, name: str, pod: Json) -> None:
        (self._health[name],) = free_ports(1)
        environ = {
            **stated(pod, self.followed.service),
            "GLIOSERVE_HOME": str(self.followed.home.root),
            "GLIOSERVE_STAGE__HEALTH_PORT": str(self._health[name]),
            "OMP_NUM_THREADS": "1",
        }
        argv = [sys.executable, "-m", f"services.{self.followed.service}"]
        program = Program(name, argv, self.followed.home.logs / f"{name}.jsonl", environ)
        program.start()
        self.running[name] = program
        self.tell(f"pod {name} is ready: process {program.pid} started")


def stated(pod: Json, service: str) -> dict[str, str]:
    """What the pod's first container states for the bus and for this service, as plain values."""
    wanted = ("GLIOSERVE_BUS", f"GLIOSERVE_{service.upper()}__")
    stated: list[dict[str, str]] = pod["spec"]["containers"][0].get("env", [])
    return {item["name"]: item["value"] for item in stated if "value" in item and item["name"].startswith(wanted)}
