"""What the command makes of a gateway's answers: a parrot gateway says what a test tells it to."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from services.cli.gateway_client import GatewayClient, NotFound, Submission
from services.cli.source import collect
from services.cli.study_commands import fetch_all, follow
from services.core.contracts.errors import Refused
from services.core.contracts.result_model import PROVENANCE_SCHEMA

pytestmark = pytest.mark.unit
RUNNING: dict[str, Any] = {"state": "running", "stages": []}


@dataclass
class Parrot:
    """Answers by path; a list is used up from its front, its last entry stays. Counts the bytes that are posted."""

    answers: dict[str, list[bytes]] = field(default_factory=dict)
    heartbeats: bool = False
    received: int = 0

    def says(self, path: str, *documents: object) -> None:
        self.answers[path] = [d if isinstance(d, bytes) else json.dumps(d).encode() for d in documents]

    def answer(self, path: str) -> bytes:
        known = self.answers[path]
        return known.pop(0) if len(known) > 1 else known[0]


def handler_of(parrot: Parrot, stop: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self.send_response(200)
            if path.endswith("/events"):
                self._stream(path)
                return
            body = parrot.answer(path)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            left = int(self.headers["Content-Length"])
            while left:
                chunk = self.rfile.read(min(left, 1 << 16))
                left -= len(chunk)
                parrot.received += len(chunk)
            self.do_GET()

        def _stream(self, path: str) -> None:
            self.end_headers()
            self.wfile.write(b"data: " + parrot.answer(path) + b"\n\n")
            while parrot.heartbeats and not stop.wait(0.02):
                try:
                    self.wfile.write(b": still here\n\n")
                except OSError:  # the client has left
                    return

        def log_message(self, *_: object) -> None:
            return

    return Handler


@contextmanager
def talking(parrot: Parrot) -> Iterator[GatewayClient]:
    stop = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(parrot, stop)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            with closing(GatewayClient(f"http://127.0.0.1:{server.server_port}")) as client:
                yield client
        finally:
            stop.set()
            server.shutdown()
            thread.join()


def results(run_id: str, *names: str) -> dict[str, object]:
    return {"run_id": run_id, "results": [{"name": name} for name in names]}


def test_a_study_may_have_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.dcm").write_bytes(bytes([number]) * 1000)
    parrot = Parrot()
    parrot.says("/studies", {"id": "s"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with talking(parrot) as gateway:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(150, soft), hard))
        try:
            assert gateway.submit(Submission(files=collect(tmp_path)))["id"] == "s"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert parrot.received > 200 * 1000


def test_a_stream_that_only_lives_does_not_outlast_the_wait(tmp_path: Path) -> None:
    parrot = Parrot(heartbeats=True)
    parrot.says("/studies/s/events", RUNNING)
    with talking(parrot) as gateway:
        assert follow(gateway, "s", timeout_s=0.2, quiet=True) is None


def test_what_an_earlier_report_left_is_removed(tmp_path: Path) -> None:
    parrot = Parrot()
    parrot.says("/studies/s/results", results("r2", "report.json", "provenance.json"))
    parrot.says("/studies/s/results/report.json", b"new")
    parrot.says("/studies/s/results/provenance.json", {"schema": PROVENANCE_SCHEMA, "outputs": {"report.json": {}}})
    old = {"schema": PROVENANCE_SCHEMA, "outputs": {"report.json": {}, "segmentation.dcm": {}, "../own": {}}}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "provenance.json").write_text(json.dumps(old))
    for name in ("segmentation.dcm", "own.nii"):
        (tmp_path / "out" / name).write_bytes(b"old")
    (tmp_path / "own").write_bytes(b"mine")
    with talking(parrot) as gateway:
        fetch_all(gateway, "s", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["own.nii", "provenance.json", "report.json"]
    assert (tmp_path / "own").exists()


def test_files_of_two_reports_are_never_mixed(tmp_path: Path) -> None:
    parrot = Parrot()
    parrot.says("/studies/s/results", results("r1", "report.json"), results("r2", "report.json"))
    parrot.says("/studies/s/results/report.json", b"first", b"second")
    with talking(parrot) as gateway:
        fetch_all(gateway, "s", tmp_path)
    assert (tmp_path / "report.json").read_bytes() == b"second"


def test_a_result_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    parrot = Parrot()
    parrot.says("/studies/s/results", results("r1", "../../outside"))
    with talking(parrot) as gateway, pytest.raises(Refused, match="no file name"):
        fetch_all(gateway, "s", tmp_path / "in")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("study", ["../x", "a b", "a?b", "", "."])
def test_what_can_be_no_id_is_an_unknown_study_and_no_other_address(study: str) -> None:
    with talking(Parrot()) as gateway, pytest.raises(NotFound) as raised:
        gateway.study(study)
    assert raised.value.code == "UNKNOWN_STUDY"
    assert "glioserve status" in raised.value.advice
