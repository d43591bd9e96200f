"""The launcher: what it lets a server do, and that a trace goes through it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.core.contracts.enums import Lane
from services.core.imaging.volume import Array
from services.core.triton.client import TritonClient
from services.core.triton.server import MODELS
from services.core.triton.shared_memory import SHM
from tests.servers.triton import SLEEPER, TritonServer, triton_server, wait_until

pytestmark = pytest.mark.integration
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_it_listens_on_loopback_only(triton: TritonServer) -> None:
    server = psutil.Process(triton.process.pid)  # type: ignore[union-attr]
    listening = {c.laddr.ip for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_shared_memory_of_server_and_callers_is_named_after_the_home_and_private(triton: TritonServer) -> None:
    client = triton.client()
    client.infer(*client_request(client), priority=Lane.STAT, deadline_s=20)
    maps = Path(f"/proc/{triton.process.pid}/maps").read_text()  # type: ignore[union-attr]
    named = {Path(line.split()[-1]) for line in maps.splitlines() if f" {SHM}/" in line}
    sleepers = {stub.cmdline()[2] for stub in triton.stubs() if SLEEPER in " ".join(stub.cmdline())}
    assert len(named) == len(MODELS) + len(sleepers) + 1
    for path in named:
        assert path.name.startswith(triton.home.shm_prefix)
        assert path.name in sleepers or path.stat().st_mode & 0o077 == 0


def test_nobody_may_exchange_the_models_of_a_running_server(triton: TritonServer) -> None:
    with InferenceServerClient(triton.launch.grpc_address) as client:
        with pytest.raises(InferenceServerException):
            client.unload_model("fusion_fine")
        with pytest.raises(InferenceServerException):
            client.load_model("fusion_fine")
        assert client.is_model_ready("fusion_fine", "1")
    request = urllib.request.Request(
        f"http://{triton.launch.http_address}/v2/repository/models/fusion_fine/unload", data=b"{}", method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)  # noqa: S310 - http, and ours
    caught.value.close()


def test_nothing_is_written_into_the_model_repository(triton: TritonServer) -> None:
    released = json.loads((triton.spec.models / "manifest.json").read_text())["models"]
    for model in ("fusion_coarse", "fusion_fine"):
        files = {path.name for path in (triton.spec.models / model).rglob("*") if path.is_file()}
        assert files == {"config.pbtxt", "cpu.pbtxt", *released[model]["versions"]["1"]["files"]}


def test_a_sampled_trace_reaches_the_collector_with_its_own_id(tmp_path: Path) -> None:
    with _collector() as (url, received), triton_server(tmp_path, traces_url=url) as server:
        client = server.client(trace_headers=lambda: {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"})
        client.infer(*client_request(client), priority=Lane.STAT, deadline_s=20)
        wait_until(lambda: any(TRACE_ID in text for text in received), "the trace arrives", 20)


def client_request(client: TritonClient) -> tuple[str, str, dict[str, Array], list[str]]:
    ref = client.model_ref("fusion_coarse")
    return (ref.name, ref.version, *client.blank_request(ref))


@contextmanager
def _collector() -> Iterator[tuple[str, list[str]]]:
    """Receives OTLP over HTTP, as JSON, and keeps the texts."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.dumps(json.loads(body)).lower())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
