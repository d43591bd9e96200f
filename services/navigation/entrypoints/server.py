"""The gRPC server of the operating room: options, health, and its life on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from glioserve.navigation.v1 import navigation_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.core.security.tls import TlsSettings, listen
from services.navigation.domain.upload import MAX_CHUNK
from services.navigation.entrypoints.rpc import NavigationServicer
from services.navigation.settings import NavigationSettings

SERVICE = "glioserve.navigation.v1.NavigationService"
ROOM = 64 << 10
"""Bytes of a message around its chunk."""
PING_ANSWER_MS = 10_000


@asynccontextmanager
async def serving(
    servicer: NavigationServicer, settings: NavigationSettings, tls: TlsSettings, drain: asyncio.Event
) -> AsyncIterator[int]:
    """Serves while the context lasts; gives the port. `drain` set: health says so before anything stops.

    Raises SettingsError when the port may not or cannot be listened on.
    """
    server = grpc.aio.server(options=_options(settings))
    navigation_service_pb2_grpc.add_NavigationServiceServicer_to_server(servicer, server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", SERVICE):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
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
        ("grpc.keepalive_time_ms", round(1000 * settings.keepalive_s)),
        ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(1000 * settings.ping_s)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_age_ms", round(1000 * settings.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", round(1000 * settings.connection_grace_s)),
        ("grpc.so_reuseport", 0),
    ]
