"""Bodies of requests: fed to a sink off the event loop, every byte counted; after a refusal the rest is drained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from anyio import move_on_after, to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from services.core.telemetry.metrics import Metrics
from services.gateway.errors import BadRequest

LONGEST_NUMBER = 18
DRAIN_BYTES = 64 << 20
"""After a refusal so much of the rest is read and dropped, so that the sender gets to read the answer."""
DRAIN_S = 5.0
"""No longer than this: a sender may announce what it never sends."""


def whole_number(text: str | None) -> int | None:
    """The number in a header; None where there is none, or none that anything here could mean."""
    return int(text) if text is not None and text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def announced_bytes(request: Request) -> int:
    """What the Content-Length header says; 0 where there is none."""
    return whole_number(request.headers.get("content-length")) or 0


async def fed(body: AsyncIterator[bytes], sink: Callable[[bytes], None], metrics: Metrics, door: str) -> None:
    """All of a body into a sink. Raises BadRequest when the sender goes away, and what the sink raises."""
    try:
        async for chunk in body:
            if chunk:
                metrics.bytes_in.labels(door).inc(len(chunk))
                await to_thread.run_sync(sink, chunk)
    except ClientDisconnect:
        raise BadRequest("UPLOAD_CUT_OFF", "the sender went away", "Send it again.") from None


async def drained(body: AsyncIterator[bytes]) -> None:
    """Reads and drops what is left of a body, up to a limit of bytes and time."""
    left = DRAIN_BYTES
    try:
        with move_on_after(DRAIN_S):
            async for chunk in body:
                left -= len(chunk)
                if left < 0:
                    return
    except (ClientDisconnect, RuntimeError):  # gone, or read to its end before
        return
