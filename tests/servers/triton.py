"""A real tritonserver for tests: identity models and a sleeper, free ports, nothing left behind.

with triton_server(tmp_path) as server:
    client = server.client()
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry

from loadtests.identity_models import write_identity_repository
from services.core.contracts.errors import Permanent
from services.core.runtime.home import Home
from services.core.telemetry.metrics import Metrics
from services.core.triton.catalog import ModelCatalog, write_manifest
from services.core.triton.client import ClientSpec, TritonClient
from services.core.triton.server import (
    DEFAULT_RUNTIME,
    MODELS,
    Launch,
    TritonSpec,
    find_runtime,
    triton_command,
)
from services.core.triton.shared_memory import SHM, sweep_shared_memory
from tests.servers.require import require

START_S = 60.0
SLEEPER = "sleeper"
SLEEPER_QUEUE = 3
_SLEEPER_CONFIG = f"""
name: "{SLEEPER}"
backend: "python"
max_batch_size: 1
version_policy {{ specific {{ versions: [1] }} }}
input [ {{ name: "seconds" data_type: TYPE_FP32 dims: [1] }} ]
output [ {{ name: "slept" data_type: TYPE_FP32 dims: [1] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{
  priority_levels: 2
  default_priority_level: 2
  default_queue_policy {{
    timeout_action: REJECT default_timeout_microseconds: 60000000
    allow_timeout_override: true max_queue_size: {SLEEPER_QUEUE}
  }}
}}
"""


def runtime_path() -> Path:
    """Where the runtime environment of this checkout is, or where GLIOSERVE_TRITON_RUNTIME says."""
    return Path(os.environ.get("GLIOSERVE_TRITON_RUNTIME", DEFAULT_RUNTIME))


def require_triton() -> None:
    """Skips, or fails where `triton` is required, when there is no usable runtime."""
    try:
        find_runtime(runtime_path())
    except Permanent as error:
        require("triton", f"{error.message} ({error.advice})")


def runtime_present() -> bool:
    """True when `triton_server` can start one here."""
    try:
        find_runtime(runtime_path())
    except Permanent:
        return False
    return True


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Polls until the condition holds; AssertionError after `within_s` seconds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.02)


@dataclass(slots=True, kw_only=True)
class TritonServer:
    """A running server of one home. `kill` and `start` may be called in turn; it comes back on the same ports."""

    home: Home
    spec: TritonSpec
    launch: Launch
    log: Path
    process: subprocess.Popen[bytes] | None = None
    clients: list[TritonClient] = field(default_factory=list)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.launch.argv, env=dict(self.launch.env), stdout=log, stderr=log)
        wait_until(self.http_ready, "Triton ready", START_S)

    def http_ready(self) -> bool:
        """What `/v2/health/ready` says."""
        assert self.process is not None
        assert self.process.poll() is None, f"tritonserver ended early:\n{self.log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"http://{self.launch.http_address}/v2/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stubs(self) -> list[psutil.Process]:
        """The python stubs that belong to this home, orphans included."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()  # empty for a zombie
            except psutil.Error:
                continue
            if words and any(word.startswith(self.home.shm_prefix) for word in words[1:]) and "stub" in words[0]:
                found.append(process)
        return found

    def kill(self) -> None:
        """SIGKILL, reaped; its stubs are gone when this returns."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        wait_until(lambda: not self.stubs(), "the stubs end with their server", 10)

    def stop(self) -> None:
        """SIGTERM, as the supervisor does; SIGKILL after the server's own exit timeout."""
        self.close_clients()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(self.spec.exit_timeout_s + 15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def close_clients(self) -> None:
        """Closes every client that `client` made."""
        for client in self.clients:
            client.close()
        self.clients.clear()

    def shared_memory(self) -> list[str]:
        """What this home has under /dev/shm."""
        return [path.name for path in SHM.glob(f"{self.home.shm_prefix}*")]

    def client(
        self,
        *,
        shared_memory: bool = True,
        metrics: Metrics | None = None,
        trace_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> TritonClient:
        """A client of this server; closed with it."""
        spec = ClientSpec(
            address=self.launch.grpc_address,
            shm_prefix=self.home.shm_prefix if shared_memory else None,
            trace_headers=trace_headers,
        )
        catalog = ModelCatalog.load(self.spec.models)
        client = TritonClient(spec, catalog, metrics or Metrics(CollectorRegistry()))
        self.clients.append(client)
        return client


@contextmanager
def triton_server(folder: Path, *, models: Path | None = None, traces_url: str | None = None) -> Iterator[TritonServer]:
    """A server in a home under `folder`; identity models and the sleeper unless `models` names a repository."""
    require_triton()
    home = Home(folder / "home")
    home.prepare()
    spec = TritonSpec(
        home=home,
        models=models or _test_repository(folder / "models"),
        runtime=runtime_path(),
        load=MODELS if models else (*MODELS, SLEEPER),
        exit_timeout_s=2,
        otlp_traces_url=traces_url,
    )
    launch = triton_command(spec)
    server = TritonServer(home=home, spec=spec, launch=launch, log=home.logs / "triton.log")
    try:
        server.start()
        yield server
    finally:
        server.stop()
        sweep_shared_memory(home.shm_prefix)
        assert not server.stubs(), "a stub was left behind"
        assert not server.shared_memory(), "shared memory was left behind"


def _test_repository(folder: Path) -> Path:
    write_identity_repository(folder)
    (folder / SLEEPER / "1").mkdir(parents=True)
    (folder / SLEEPER / "config.pbtxt").write_text(_SLEEPER_CONFIG)
    shutil.copyfile(Path(__file__).with_name("sleeper_model.py"), folder / SLEEPER / "1" / "model.py")
    write_manifest(folder)
    return folder
