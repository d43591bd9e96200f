"""Before any route: who may call, from where; and after it: metrics, trace, safe headers. Plain ASGI.

With tokens every call needs one. Without (loopback only) a browser must not be made to call for another site: the
Host header has to name loopback, and an Origin header has to be that same place.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.security.exposure import is_loopback
from services.core.security.tokens import BearerTokens
from services.core.telemetry.metrics import Metrics
from services.core.telemetry.tracing import continued
from services.gateway.entrypoints.problems import problem_response
from services.gateway.errors import Forbidden, Unauthenticated

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, tokens: BearerTokens | None, metrics: Metrics) -> None:
        self._app = app
        self._tokens = tokens
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"  # a sender may invent any number of them
        status = 500

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if method == "HEAD" and not scope["path"].endswith("/events"):  # a stream has no end
            scope = {**scope, "method": "GET"}
        refusal = None if scope["path"] in OPEN_PATHS else self._refusal(headers)
        try:
            with continued(f"http {method}", dict(headers)):
                if refusal is not None:
                    await problem_response(refusal)(scope, receive, answering)
                else:
                    await self._app(scope, receive, answering)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.http_requests.labels(route, method, str(status)).inc()
            self._metrics.http_seconds.labels(route, method).observe(time.perf_counter() - started)

    def _refusal(self, headers: Headers) -> Forbidden | Unauthenticated | None:
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            return Forbidden("OTHER_ORIGIN", "requests made by pages of other sites are not taken")
        if self._tokens is None:
            return (
                None
                if is_loopback(_name(host))
                else Forbidden("OTHER_HOST", "this address is not how to reach GlioServe")
            )
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._tokens.owner_of(token.strip()):
            return None
        return Unauthenticated("TOKEN_REQUIRED", "a valid bearer token is needed")


def _place(origin: str) -> str:
    """Host and port of an Origin header; nothing where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(host: str) -> str:
    """The name in a Host header; nothing where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
