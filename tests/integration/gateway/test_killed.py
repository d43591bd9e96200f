"""kill -9 at every failpoint of the gateway, in a process of its own that is started again each time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from services.core.contracts.enums import Stage
from services.core.runtime.failpoints import NAMES, Failpoint, arm
from services.core.runtime.home import Home, read_endpoints
from tests.integration.gateway.dicom_files import mr_study
from tests.integration.gateway.running import Document, Stages, eventually

pytestmark = pytest.mark.integration
POINTS: list[Failpoint] = [name for name in NAMES if name.startswith("gateway.")]  # type: ignore[misc]
WITHIN_S = 180.0


class Supervised:
    """Starts the gateway of a home, and again whenever it was killed."""

    def __init__(self, home: Home, **settings: str) -> None:
        self.home = home
        self._settings = settings
        self.ends: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self) -> None:
        environ = {"GLIOSERVE_HOME": str(self.home.root), "PATH": os.environ["PATH"], **self._settings}
        while not self._stop.is_set():
            with (self.home.logs / "gateway.log").open("ab") as log:
                self._process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environ, stderr=log)
            self.ends.append(self._process.wait())

    def call(self, method: str, path: str, **options: object) -> httpx.Response | None:
        """An answer, or None while the gateway is away."""
        try:
            url = read_endpoints(self.home)["gateway"]["http"]
            answer = httpx.request(method, f"{url}{path}", timeout=30.0, **options)  # type: ignore[arg-type]
        except (httpx.TransportError, KeyError):
            return None
        return answer if answer.is_success else None

    def kill(self) -> None:
        """kill -9, now."""
        assert self._process is not None
        self._process.kill()

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
            self._thread.join(60)


def test_killed_at_every_failpoint_a_study_still_ends_with_one_result(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("killed") / "home")
    home.prepare()
    for point in POINTS:
        arm(home.root, point, ["kill"])
    parts = [("files", (name, data)) for name, data in mr_study(2, 2).items()]
    supervised = Supervised(home)
    with supervised.running(), Stages(home) as stages:
        answer = eventually(lambda: supervised.call("POST", "/studies", files=parts), WITHIN_S)
        study = answer.json()["id"]

        def ended() -> Document | None:
            found = supervised.call("GET", f"/studies/{study}")
            document: Document | None = found.json() if found else None
            return document if document and document["state"] == "done" else None

        done = eventually(ended, WITHIN_S)
        listed = eventually(lambda: supervised.call("GET", "/studies"), WITHIN_S).json()["studies"]
    assert supervised.ends.count(-signal.SIGKILL) == len(POINTS)
    assert supervised.ends[-1] == 0, "a stop by SIGTERM is a clean end"
    assert [entry["id"] for entry in listed] == [study]
    assert (done["version"], done["revision"]) == (1, 1)
    assert {request.stage for request in stages.seen} == set(Stage)
    assert len({request.request_id for request in stages.seen}) == len(Stage)
    assert not list(home.staging.iterdir())
    assert "gateway" not in read_endpoints(home)
