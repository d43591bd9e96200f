"""Health and metrics of a process on a plain HTTP port of their own, without study data.

`/live` depends on nothing, `/ready` asks every named check, `/metrics` is Prometheus text.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Check = Callable[[], bool]
SILENT_S = 10.0
"""A caller that says nothing for so long is hung up on: its thread must not stay for ever."""


class HealthServer:
    """Serves from a thread of its own, so that no work can starve a probe. `address` is host:port."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check], host: str, port: int) -> None:
        handler = _handler(registry, checks)
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self.address = f"{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(registry: CollectorRegistry, checks: Mapping[str, Check]) -> type[BaseHTTPRequestHandler]:
    def answer(path: str) -> tuple[int, str, bytes]:
        if path == "/live":
            return 200, "application/json", b'{"live": true}'
        if path == "/ready":
            results = {name: check() for name, check in checks.items()}
            return 200 if all(results.values()) else 503, "application/json", json.dumps(results).encode()
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
        return 404, "application/json", b'{"code": "NOT_FOUND"}'

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_S

        def do_GET(self) -> None:
            status, kind, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler
