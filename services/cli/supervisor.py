"""`glioserve up`: one process per service plus Triton, restarted with back-off, stopped in order.

Only one supervisor runs a home (`run/up.lock`, released by the kernel when it dies). If it is killed its children die
with it, and the next `up` sweeps what they left in shared memory and goes on where the log stands.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from services.cli.child import HEALTHY_AFTER_S, Child, ChildSpec
from services.core.contracts.errors import Refused
from services.core.runtime.home import Home, publish_endpoints, read_endpoints
from services.core.runtime.process import EXIT_BAD_SETTINGS
from services.core.runtime.settings import ServiceSettings, SharedSettings, load
from services.core.storage.local import LocalBlobStore
from services.core.triton.server import TritonSpec, triton_command
from services.core.triton.shared_memory import sweep_shared_memory

TRITON, TLS_PREFIX = "triton", "GLIOSERVE_TLS__"
STAGES = ("preprocessing", "fusion_segmentation", "molecular_subtyping", "monitoring", "reporting")
WARD = (TRITON, "gateway", *STAGES)
THEATRE = ("theatre_preprocessing", "theatre_fusion_segmentation", "navigation", "navigation_poses")
SERVICES = (*WARD, *THEATRE)
MODULES = {
    "theatre_preprocessing": "preprocessing",
    "theatre_fusion_segmentation": "fusion_segmentation",
    "navigation_poses": "navigation.poses",
}
_LANE = {name: {"GLIOSERVE_STAGE__LANE": "theatre"} for name in THEATRE[:2]}
TICK_S = 0.1
DRAIN_S = 35.0  # above the consumer loop's own drain time, and navigation's
STOP_S = 10.0
THEATRE_MEMORY = 6 << 30
"""Below it a machine has no room for the theatre's processes and their store beside the ward."""
WARD_NICE = 10  # the theatre shares the session, so that this counts where the kernel groups by session too
log = logging.getLogger(__name__)


class SupervisorSettings(ServiceSettings):
    """GLIOSERVE_SUPERVISOR__HEALTHY_AFTER_S."""

    healthy_after_s: float = Field(
        default=HEALTHY_AFTER_S, gt=0, description="A process that ran so long is restarted without a longer back-off."
    )


class Supervisor:
    """Runs the chosen services of one home until a signal or `stop`. Single-threaded on purpose (see `Child`)."""

    def __init__(self, shared: SharedSettings, environ: Mapping[str, str], only: Sequence[str] = SERVICES) -> None:
        unknown = sorted(set(only) - set(SERVICES))
        if unknown:
            raise Refused(
                "UNKNOWN_SERVICE", f"no service is called {', '.join(unknown)}", f"Known: {', '.join(SERVICES)}."
            )
        self._home = Home(shared.home.resolve())
        self._shared = shared
        self._environ = dict(environ)
        self._healthy_after_s = load(SupervisorSettings, "supervisor", environ).healthy_after_s
        self._only = [name for name in SERVICES if name in only]
        self._stopping = False

    def run(self, say: Callable[[str], None]) -> int:
        """Starts everything, keeps it alive, and stops it on SIGINT, SIGTERM or SIGHUP. Gives the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores the end of the terminal
                signal.signal(number, lambda *_: self._stop())
        with _only_one(self._home):
            self._tidy()
            children = [Child(spec) for spec in self._specs()]
            try:
                for child in children:
                    child.start()
                say(f"{len(children)} processes started, home {self._home.root}")
                address: str | None = None
                while not self._stopping:
                    self._revive(children, say)
                    address = self._tell_address(address, say)
                    time.sleep(TICK_S)
            finally:
                self._end(children, say)
        return 0

    def _tell_address(self, told: str | None, say: Callable[[str], None]) -> str | None:
        """Says where the gateway answers, once it does, and again when that changes."""
        address = read_endpoints(self._home).get("gateway", {}).get("http")
        if address is not None and address != told:
            say(f"gateway {address}")
        return address or told

    def _stop(self) -> None:
        self._stopping = True

    def _revive(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        for child in children:
            child.shorten_log()
            code = child.revive()
            if code is not None:
                say(f"{child.spec.name} ended with {_described(code)}; it is started again (log: {child.spec.log})")
                log.warning("child.ended", extra={"service": child.spec.name, "exit_code": code})

    def _end(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        """In order: sessions still need the theatre's stages while they drain, and all stages need Triton."""
        for wave, patience_s in ((0, DRAIN_S), (1, STOP_S), (2, STOP_S)):
            ending = [child for child in children if _wave(child.spec.name) == wave]
            deadline = time.monotonic() + patience_s
            for child in ending:
                child.terminate()
            for child in ending:
                if not child.wait(deadline):
                    say(f"{child.spec.name} did not stop in time and was killed")
        publish_endpoints(self._home, TRITON, None)
        self._sweep()
        say("stopped")

    def _tidy(self) -> None:
        self._home.prepare()
        (self._home.run / "endpoints.json").unlink(missing_ok=True)
        LocalBlobStore(self._home.blobs).remove_leftovers()
        self._sweep()

    def _sweep(self) -> None:
        """What earlier processes left in shared memory, while none of them runs."""
        sweep_shared_memory(self._home.shm_prefix)
        for left in (self._home.theatre, self._home.theatre_poses):
            shutil.rmtree(left, ignore_errors=True)

    def _specs(self) -> Iterator[ChildSpec]:
        environ = self._environ | {
            "GLIOSERVE_HOME": str(self._home.root),
            "OMP_NUM_THREADS": self._environ.get("OMP_NUM_THREADS", "2"),
            "MALLOC_ARENA_MAX": "2",  # glibc would keep an arena per thread: memory that nobody uses
        }
        if not any(name.startswith(TLS_PREFIX) for name in environ):
            environ[f"{TLS_PREFIX}PLAIN"] = "true"  # one machine: everything is on loopback
        if TRITON in self._only and self._shared.triton_url is None:
            launch = triton_command(
                TritonSpec(
                    runtime=self._shared.triton_runtime,
                    models=self._shared.models,
                    home=self._home,
                    otlp_traces_url=self._shared.otlp_endpoint,
                )
            )
            environ["GLIOSERVE_TRITON_URL"] = launch.grpc_address
            publish_endpoints(
                self._home,
                TRITON,
                {"grpc": launch.grpc_address, "http": launch.http_address, "metrics": launch.metrics_address},
            )
            yield ChildSpec(
                name=TRITON,
                argv=launch.argv,
                environ={**launch.env, "GLIOSERVE_HOME": str(self._home.root)},  # tells whose process it is
                log=self._log(TRITON),
                healthy_after_s=self._healthy_after_s,
                before_start=lambda: sweep_shared_memory(self._home.shm_prefix),
            )
        for name in self._only:
            if name != TRITON:
                yield ChildSpec(
                    name=name,
                    argv=[sys.executable, "-m", f"services.{MODULES.get(name, name)}"],
                    environ={**environ, **_LANE.get(name, {})},
                    log=self._log(name),
                    nice=WARD_NICE if name in STAGES else 0,
                    healthy_after_s=self._healthy_after_s,
                )

    def _log(self, name: str) -> Path:
        return self._home.logs / f"{name}.{'log' if name == TRITON else 'jsonl'}"


def everything(*, theatre: bool, memory: int | None = None) -> tuple[str, ...]:
    """All services of one machine; without the theatre where it is not wanted or `memory` (bytes; None: the machine's)
    is too small for it.
    """
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if memory is None else memory
    return SERVICES if theatre and size >= THEATRE_MEMORY else WARD


def _wave(name: str) -> int:
    return 2 if name == TRITON else 1 if name in THEATRE and name != "navigation" else 0


@contextmanager
def _only_one(home: Home) -> Iterator[None]:
    home.run.mkdir(parents=True, exist_ok=True)
    with (home.run / "up.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                "ALREADY_UP", f"another `glioserve up` runs the home {home.root}", "Use it, or set GLIOSERVE_HOME."
            ) from None
        handle.write(str(os.getpid()))
        handle.flush()
        os.set_inheritable(handle.fileno(), False)
        yield


def _described(code: int) -> str:
    if code == EXIT_BAD_SETTINGS:
        return f"exit code {code}, a setting is wrong"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
