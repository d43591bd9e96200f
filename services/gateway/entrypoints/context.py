"""What the HTTP door is given at start: use cases' ports, views, limits. One object, found at `app.state.context`."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from services.core.contracts.ids import StudyKey
from services.core.security.tokens import BearerTokens
from services.core.storage.port import BlobStore
from services.core.telemetry.metrics import Metrics
from services.gateway.errors import NotFound
from services.gateway.handlers.intake import IntakePorts
from services.gateway.ports import Inspector, Staging, Stamper, StudyView, Views


class Changes:
    """Tells the relay and every event stream that something was committed. Callable from any thread."""

    def __init__(self) -> None:
        self.relay = threading.Event()
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def __call__(self) -> None:
        """Something was committed."""
        self.relay.set()
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next change after this call, or after the time."""
        mine = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(mine)
        try:
            async with asyncio.timeout(timeout_s):
                await mine[1].wait()
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiting.discard(mine)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Event streams: longest silence in seconds, and how many there may be at once."""

    heartbeat_s: float
    streams: int


class OpenStreams:
    """Counts the event streams of this process."""

    def __init__(self) -> None:
        self.count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpContext:
    """Everything a route may use."""

    intake: IntakePorts
    views: Views
    blobs: BlobStore
    staging: Staging
    inspector: Inspector
    stamper: Stamper
    changes: Changes
    metrics: Metrics
    examining: CapacityLimiter
    limits: StreamLimits
    tokens: BearerTokens | None
    stop: threading.Event
    streams: OpenStreams = field(default_factory=OpenStreams)


def context_of(request: Request) -> HttpContext:
    """The context of this application."""
    context: HttpContext = request.app.state.context
    return context


Context = Annotated[HttpContext, Depends(context_of)]


def known_study(context: HttpContext, study: str) -> StudyView:
    """The view of a study. Raises NotFound."""
    view = context.views.study(StudyKey(study))
    if view is None:
        raise NotFound("UNKNOWN_STUDY", "there is no study with this id")
    return view
