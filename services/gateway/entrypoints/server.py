"""uvicorn on a thread of its own, so that the main thread keeps the process's signals. The socket is bound first."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

START_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where to listen, and with which certificate. `drain_s`: how long open requests may take after a stop."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    drain_s: float = 10.0


class HttpServer:
    """Serves while its context lasts. `url` is its address."""

    def __init__(self, app: ASGIApp, binding: Binding) -> None:
        family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((binding.host, binding.port))
        scheme = "https" if binding.certificate else "http"
        name = f"[{binding.host}]" if ":" in binding.host else binding.host
        self.url = f"{scheme}://{name}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ssl_certfile=str(binding.certificate) if binding.certificate else None,
            ssl_keyfile=str(binding.key) if binding.key else None,
            timeout_graceful_shutdown=max(1, round(binding.drain_s)),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._up = threading.Event()

    def serving(self) -> bool:
        """True while it accepts requests."""
        return self._server.started and self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = START_WITHIN_S
        while not self._server.started and self._thread.is_alive() and deadline > 0:
            self._up.wait(0.02)
            deadline -= 0.02
        if not self.serving():
            raise RuntimeError("the HTTP server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Accepts nothing more, lets open requests end, closes."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
