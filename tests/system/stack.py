"""The whole product as processes, for tests: `glioserve up` on a home of its own, with identity networks by default."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from loadtests.identity_models import write_identity_repository
from services.cli.gateway_client import Document, GatewayClient, Submission
from services.cli.readiness import unready
from services.cli.source import collect
from services.cli.supervisor import MODULES, SERVICES, WARD
from services.core.contracts.errors import Transient
from services.core.runtime.home import Home, read_endpoints
from services.core.storage.factory import open_blobs
from services.core.storage.port import BlobStore

T = TypeVar("T")
READY_WITHIN_S = 120.0
DONE_WITHIN_S = 180.0
ENDED = frozenset({"done", "failed"})
QUICK = {
    "GLIOSERVE_PREPROCESSING__N4": "false",  # half of a small study's time, and nothing here looks at the images
    "GLIOSERVE_SUPERVISOR__HEALTHY_AFTER_S": "0.5",  # killed on purpose: no longer back-off
}


@dataclass
class Stack:
    """One home and the supervisor that runs it, which a test may kill and start again."""

    home: Home
    environ: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = WARD
    _up: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts `glioserve up` and waits until every service says that it is ready."""
        self.home.logs.mkdir(parents=True, exist_ok=True)
        chosen = [] if self.only == SERVICES else ["--only", ",".join(self.only)]
        with (self.home.logs / "up.log").open("ab") as log:
            self._up = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "up", *chosen],
                env={**clean_environment(), "GLIOSERVE_HOME": str(self.home.root), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Waits until every service says that it is ready; an ended supervisor is a failure at once."""

        def ready() -> bool:
            assert self._up is not None
            assert self._up.poll() is None, f"the supervisor ended with {self._up.returncode}: {self.said()}"
            return not unready(self.home, self.only)

        until(ready, READY_WITHIN_S, lambda: f"not ready: {unready(self.home, self.only)}; {self.said()}")

    def stop(self) -> None:
        """Stops everything with SIGTERM, as an operator would."""
        if self._up is not None:
            if self._up.poll() is None:
                self._up.send_signal(signal.SIGTERM)
            self._up.wait(60)
            self._up = None

    def kill_supervisor(self) -> None:
        """SIGKILL to `glioserve up`; the kernel ends its children."""
        self.supervisor.kill()
        self.wait_gone()

    def wait_gone(self) -> None:
        """Waits until the killed supervisor is gone, and its children with it."""
        assert self._up is not None
        self._up.wait(20)
        self._up = None
        until(lambda: not self._services(), 20, lambda: f"left behind: {self._services()}")

    def kill(self, service: str) -> None:
        """SIGKILL to one service, or to the supervisor, which is then started again."""
        if service == "supervisor":
            self.kill_supervisor()
            self.start()
            return
        process = self.process(service)
        process.kill()
        until(lambda: not alive(process), 20, lambda: f"{service} survives SIGKILL")

    @property
    def supervisor(self) -> psutil.Process:
        """The running supervisor."""
        assert self._up is not None
        return psutil.Process(self._up.pid)

    def process(self, service: str) -> psutil.Process:
        """The running process of a service; waits for one that is being restarted."""
        supervisor = self.supervisor

        def find() -> psutil.Process | None:
            return next((child for child in supervisor.children() if _is(child, service)), None)

        return until(find, 40, lambda: f"{service} is not running")

    def blobs(self) -> BlobStore:
        """The blob store of this stack."""
        return open_blobs(self.environ.get("GLIOSERVE_BLOBS", "local"), self.home, self.environ)

    def client(self) -> GatewayClient:
        """A client of this home's gateway."""
        return GatewayClient(read_endpoints(self.home)["gateway"]["http"])

    def submit(self, folder: Path, **options: str) -> str:
        """Sends a study, again while the gateway is away, as a hospital system must; gives its id."""
        submission = Submission(files=collect(folder), **options)  # type: ignore[arg-type]
        document: Document = self._asked(lambda client: client.submit(submission))
        study: str = document["id"]
        return study

    def submit_once(self, folder: Path) -> Document:
        """Sends a study without patience. Raises what the gateway answers."""
        with closing(self.client()) as client:
            return client.submit(Submission(files=collect(folder)))

    def study(self, study: str) -> Document:
        """The study document, asked again while the gateway is away."""
        return self._asked(lambda client: client.study(study))

    def wait_done(self, study: str, within_s: float = DONE_WITHIN_S) -> Document:
        """Waits until the study has ended; gives its document."""

        def ended() -> Document | None:
            document = self.study(study)
            return document if document["state"] in ENDED else None

        return until(ended, within_s, lambda: f"study has not ended: {self.study(study)}; {self.said()}")

    def wait_revision(self, study: str, revision: int) -> Document:
        """Waits until the current result has this revision; gives the study document."""

        def there() -> Document | None:
            document = self.study(study)
            return document if document["state"] in ENDED and (document["revision"] or 0) >= revision else None

        return until(there, DONE_WITHIN_S, lambda: f"no revision {revision}: {self.study(study)}")

    def studies(self) -> set[str]:
        """Ids of all studies that the gateway knows."""
        document = self._asked(lambda client: dict(json.loads(client.text("/studies?limit=500"))))
        return {str(study["id"]) for study in document["studies"]}

    @staticmethod
    def pause(seconds: float) -> None:
        """Lets the stack work for so long; for times that are random on purpose."""
        time.sleep(seconds)

    def _services(self) -> list[str]:
        """Processes of this home but for Triton's own children, which may wait for the next sweep."""
        return [line for line in orphans(self.home) if "python_backend_stub" not in line]

    def said(self) -> str:
        """The last words of the supervisor."""
        return (self.home.logs / "up.log").read_text()[-1500:]

    def _asked(self, question: Callable[[GatewayClient], Document]) -> Document:
        def answer() -> Document | None:
            try:
                client = self.client()
            except KeyError:
                return None
            try:
                return question(client)
            except Transient:
                return None
            finally:
                client.close()

        return until(answer, 60, lambda: f"the gateway does not answer; {self.said()}")


@contextmanager
def running(
    root: Path, environ: Mapping[str, str] | None = None, given: Mapping[str, str] = QUICK, only: tuple[str, ...] = WARD
) -> Iterator[Stack]:
    """A stack with identity networks that leaves no process and no shared memory behind."""
    models = write_identity_repository(root / "models")
    stack = Stack(Home(root / "home"), {"GLIOSERVE_MODELS": str(models), **given, **(environ or {})}, only)
    (stack.home.run / "failpoints").mkdir(parents=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
    assert "did not stop in time" not in stack.said()
    assert_nothing_left(stack.home)


def leftovers(home: Home) -> list[str]:
    """Names that a home left in shared memory."""
    return sorted(path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(home.shm_prefix))  # noqa: S108


def orphans(home: Home) -> list[str]:
    """Command lines of processes that say by their environment or their words that they belong to this home."""
    mine = f"GLIOSERVE_HOME={home.root.resolve()}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            environment, words = (_read(folder / name) for name in ("environ", "cmdline"))
            if mine in environment.split(b"\0") or home.shm_prefix.encode() in words:
                found.append(f"{folder.name} {words.replace(chr(0).encode(), b' ').decode(errors='replace')}")
    return found


def assert_nothing_left(home: Home) -> None:
    """After a stop: no process of this home, no name of it in shared memory."""
    until(lambda: not orphans(home), 5, lambda: f"processes were left behind: {orphans(home)}")
    assert leftovers(home) == []


def clean_environment() -> dict[str, str]:
    """The environment without settings of the person who runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GLIOSERVE_")}


def alive(process: psutil.Process) -> bool:
    """True while the process runs (a zombie does not)."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], T | None], within_s: float, why: Callable[[], str]) -> T:
    """Waits for a true value. Fails with `why()` when it does not come."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
    return value


def metrics_of(home: Home, service: str) -> str:
    """The metrics page of a service."""
    return httpx.get(f"http://{read_endpoints(home)[service]['health']}/metrics").text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def _is(process: psutil.Process, service: str) -> bool:
    command = _command(process)
    if service == "triton":
        return "tritonserver" in command
    if not command.endswith(f"-m services.{MODULES.get(service, service)}"):
        return False
    lane = process.environ().get("GLIOSERVE_STAGE__LANE", "ward")
    return bool((lane == "theatre") == service.startswith("theatre_"))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
