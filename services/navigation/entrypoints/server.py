"""The gRPC server of the operating room: options, health, and its life on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from glioserve.navigation.v1 import navigation_service_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.core.security.tls import TlsSettings, listen
from services.navigation.domain.upload import MAX_CHUNK
from services.navigation.entrypoints.grpc_server import add_health, connection_options
from services.navigation.entrypoints.rpc import NavigationServicer
from services.navigation.settings import NavigationSettings

SERVICE = "glioserve.navigation.v1.NavigationService"
ROOM = 64 << 10
"""Bytes of a message around its chunk."""


@asynccontextmanager
async def serving(
    servicer: NavigationServicer, settings: NavigationSettings, tls: TlsSettings, drain: asyncio.Event
) -> AsyncIterator[int]:
    """Serves while the context lasts; gives the port. `drain` set: health says so before anything stops.

    Raises SettingsError when the port may not or cannot be listened on.
    """
    server = grpc.aio.server(options=_options(settings))
    navigation_service_pb2_grpc.add_NavigationServiceServicer_to_server(servicer, server)
    health = await add_health(server, SERVICE)
    port = listen(server, tls, settings.host, settings.port)
    await server.start()
    leaving = asyncio.create_task(_say_not_serving(health, drain))
    try:
        yield port
    finally:
        leaving.cancel()
        await server.stop(grace=2.0)


async def _say_not_serving(health: HealthServicer, drain: asyncio.Event) -> None:
    await drain.wait()
    await health.enter_graceful_shutdown()


def _options(settings: NavigationSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_CHUNK + ROOM),
        ("grpc.max_concurrent_streams", 4 * settings.sessions),
        *connection_options(settings),
    ]
