"""The stream of a session: what comes in goes to the session, what the session says goes out. Converts and delegates.

Not reading is the back-pressure: the next message is read once the last one is written to memory-backed storage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import grpc.aio
from glioserve.navigation.v1 import navigation_service_pb2, navigation_service_pb2_grpc

from services.core.runtime.clock import Clock
from services.core.telemetry.metrics import Metrics
from services.navigation.domain.answer_log import Numbered
from services.navigation.domain.answers import Accepted, Fault, MaskAnswer, Reason
from services.navigation.entrypoints.grpc_server import abort, require_navigation
from services.navigation.entrypoints.wire import Response, order_of, response_of, start_of
from services.navigation.handlers.registry import Registry
from services.navigation.handlers.session import TheatreSession

Request = navigation_service_pb2.SessionRequest
Context: TypeAlias = "grpc.aio.ServicerContext[Request, Response]"
log = logging.getLogger(__name__)


class NavigationServicer(navigation_service_pb2_grpc.NavigationServiceServicer):
    """Streams of all sessions, on one event loop."""

    def __init__(self, registry: Registry, clock: Clock, metrics: Metrics) -> None:
        self._registry = registry
        self._clock = clock
        self._metrics = metrics

    async def Session(  # noqa: N802 - the name is the proto's
        self, requests: AsyncIterator[Request], context: Context
    ) -> AsyncIterator[Response]:
        """One stream of a session, from its start to its end or its break."""
        try:
            require_navigation(context)
            session, accepted, seen = await self._begun(requests)
        except Fault as fault:
            await abort(context, fault)
        stream = session.attach()
        reading = asyncio.create_task(self._read(session, stream, requests))
        try:
            yield response_of(Numbered(sequence=0, answer=accepted), self._clock.monotonic())
            async for response in self._said(session, stream, seen, reading):
                yield response
            if session.streams != stream:
                await abort(context, Fault(Reason.SESSION_TAKEN_UP_ELSEWHERE, "another stream took the session up"))
        finally:
            reading.cancel()
            session.detach(stream)

    async def _begun(self, requests: AsyncIterator[Request]) -> tuple[TheatreSession, Accepted, int]:
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("body") != "start":
            raise Fault(Reason.START_EXPECTED, "the first message of a stream is its start")
        message = first.start
        if message.resume_token:
            session = await self._registry.resume(message.resume_token)
            return session, self._registry.accepted(session), message.last_sequence
        session, accepted = await self._registry.open(start_of(message))
        return session, accepted, 0

    async def _said(
        self, session: TheatreSession, stream: int, seen: int, reading: asyncio.Task[None]
    ) -> AsyncIterator[Response]:
        """Answers until the session ends, another stream takes it up, or the client is done and all is said."""
        while session.streams == stream:
            for numbered in await self._next(session, seen, reading):
                seen = numbered.sequence
                self._observe(numbered)
                yield response_of(numbered, self._clock.monotonic())
            if reading.done() and not session.busy and session.log.last <= seen:
                return  # the client has finished sending and has heard everything; it may come back
            if session.closed.is_set() and session.log.last <= seen:
                return

    async def _next(self, session: TheatreSession, seen: int, reading: asyncio.Task[None]) -> list[Numbered]:
        """New answers; also returns, empty, when the client has finished and nothing runs any more."""
        if not reading.done():
            return await session.log.after(seen)
        try:
            async with asyncio.timeout(0.1):
                return await session.log.after(seen)
        except TimeoutError:
            return []

    async def _read(self, session: TheatreSession, stream: int, requests: AsyncIterator[Request]) -> None:
        async for message in requests:
            if session.streams != stream or session.closed.is_set():
                return
            body = message.WhichOneof("body")
            if body == "end":
                session.end()
                return
            series = _series(message)
            try:
                self._take(session, message)
            except Fault as fault:
                session.refuse(series, fault)
            await asyncio.sleep(0)
        session.log.wake()

    def _take(self, session: TheatreSession, message: Request) -> None:
        body = message.WhichOneof("body")
        if body == "header":
            session.header(order_of(message.header, session.start))
        elif body == "chunk":
            chunk = message.chunk
            self._metrics.navigation_chunks.inc(len(chunk.data))
            session.chunk(chunk.series, chunk.sequence, chunk.data, chunk.crc32c)
            if chunk.sha256:
                session.complete(chunk.series, chunk.sha256)
        elif body == "cancel":
            session.cancel(message.cancel.series)
        elif body == "reprioritise":
            session.reprioritise(message.reprioritise.series)
        else:
            raise Fault(Reason.START_EXPECTED, "a stream starts once; this message is not known here")

    def _observe(self, numbered: Numbered) -> None:
        answer = numbered.answer
        if isinstance(answer, MaskAnswer):
            self._metrics.navigation_mask_seconds.labels(answer.kind).observe(
                max(self._clock.monotonic() - answer.arrived, 0.0)
            )


def _series(message: Request) -> str:
    body = message.WhichOneof("body")
    return str(getattr(getattr(message, body), "series", ""))[:64] if body else ""
