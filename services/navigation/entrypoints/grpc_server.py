"""What the servers of sessions and of poses share: connections, health, who may call, how a stop is heard."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn, TypeVar

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.core.security.roles import PeerContext, Role, RoleNotAllowed, require_role
from services.navigation.domain.answers import Fault, Reason
from services.navigation.entrypoints.wire import status_of
from services.navigation.settings import ServerSettings

PING_ANSWER_MS = 10_000
Request = TypeVar("Request")
Response = TypeVar("Response")


def connection_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Options of a server: pings, age, and a port that is its own."""
    return [
        ("grpc.keepalive_time_ms", round(1000 * settings.keepalive_s)),
        ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(1000 * settings.ping_s)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_age_ms", round(1000 * settings.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", round(1000 * settings.connection_grace_s)),
        ("grpc.so_reuseport", 0),
    ]


async def add_health(server: grpc.aio.Server, service: str) -> HealthServicer:
    """Health of the server and of its one service, serving."""
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", service):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    return health


def forward_stop(stop: threading.Event, drain: asyncio.Event) -> None:
    """Sets `drain` on the running loop once the process is asked to stop."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        stop.wait()
        loop.call_soon_threadsafe(drain.set)

    threading.Thread(target=wait, name="drain", daemon=True).start()


def require_navigation(context: PeerContext) -> None:
    """Raises Fault ROLE_NOT_ALLOWED unless the caller is a navigation system, or speaks plain text on loopback."""
    try:
        require_role(context, Role.NAVIGATION)
    except RoleNotAllowed as error:
        raise Fault(Reason.ROLE_NOT_ALLOWED, error.message, error.advice) from error


async def abort(context: grpc.aio.ServicerContext[Request, Response], fault: Fault) -> NoReturn:
    """Ends a call with the fault's status and its ErrorInfo."""
    code, text, trailing = status_of(fault)
    context.set_trailing_metadata(trailing)
    await context.abort(code, text)
    raise AssertionError("abort does not return")
