"""The pose process: its gRPC server on an event loop of its own, health, and nothing that computes for long."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import grpc.aio
from glioserve.navigation.v1 import pose_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.core.runtime.health import HealthServer
from services.core.runtime.home import publish_endpoints
from services.core.runtime.process import Process, run_process
from services.core.runtime.settings import load
from services.core.security.tls import TlsSettings, listen
from services.navigation.domain.pose_answer import StaleRules
from services.navigation.poses.servicer import PoseRules, PoseServicer
from services.navigation.poses.settings import PoseSettings

NAME = "navigation_poses"
SERVICE = "glioserve.navigation.v1.PoseService"
MESSAGE_BYTES = 16 << 10
"""A pose has some 200 bytes."""
PING_ANSWER_MS = 10_000
SWITCH_S = 0.001
"""A scrape of the metrics, in its own thread, may hold a pose up for so long."""


def main() -> int:
    """Runs the process until SIGTERM; gives the exit code."""
    return run_process(NAME, _run)


def _run(process: Process) -> None:
    settings = load(PoseSettings, NAME, process.environ)
    tls = load(TlsSettings, "tls", process.environ)
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(_serve(process, settings, tls))


async def _serve(process: Process, settings: PoseSettings, tls: TlsSettings) -> None:
    drain = asyncio.Event()
    _forward(process.stop, asyncio.get_running_loop(), drain)
    server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.streams)
    servicer = PoseServicer(process.home.theatre_poses, _rules(settings), process.clock, process.metrics)
    pose_service_pb2_grpc.add_PoseServiceServicer_to_server(servicer, server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", SERVICE):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = listen(server, tls, settings.host, settings.port)
    await server.start()
    checks = {"serving": lambda: not drain.is_set()}
    with HealthServer(process.metrics.registry, checks, settings.health_host, settings.health_port) as probes:
        addresses = {"grpc": f"{settings.host}:{port}", "health": probes.address}
        publish_endpoints(process.home, process.service, addresses)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk it while poses wait
        await drain.wait()
        publish_endpoints(process.home, process.service, None)
        await health.enter_graceful_shutdown()
        await server.stop(grace=settings.drain_s)


def _rules(settings: PoseSettings) -> PoseRules:
    return PoseRules(
        look_s=settings.look_s,
        stale=StaleRules(
            mask_s=settings.mask_stale_s,
            registration_s=settings.registration_stale_s,
            clock_s=settings.clock_stale_ms / 1000,
        ),
    )


def _options(settings: PoseSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", round(1000 * settings.keepalive_s)),
        ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(1000 * settings.ping_s)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_age_ms", round(1000 * settings.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", round(1000 * settings.connection_grace_s)),
        ("grpc.http2.bdp_probe", 0),  # it would widen the window for a client that sends and does not read
        ("grpc.so_reuseport", 0),
    ]


def _forward(stop: threading.Event, loop: asyncio.AbstractEventLoop, drain: asyncio.Event) -> None:
    """The process's stop signal, as the loop hears it."""

    def wait() -> None:
        stop.wait()
        loop.call_soon_threadsafe(drain.set)

    threading.Thread(target=wait, name="drain", daemon=True).start()
