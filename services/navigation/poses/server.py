"""The pose process: its gRPC server on an event loop of its own, health, and nothing that computes for long."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

import grpc.aio
from glioserve.navigation.v1 import pose_service_pb2_grpc

from services.core.runtime.health import HealthServer
from services.core.runtime.home import publish_endpoints
from services.core.runtime.priority import take_real_time
from services.core.runtime.process import Process, run_process
from services.core.runtime.settings import load
from services.core.security.tls import TlsSettings, listen
from services.navigation.domain.pose_answer import StaleRules
from services.navigation.entrypoints.grpc_server import add_health, connection_options, forward_stop
from services.navigation.poses.servicer import PoseRules, PoseServicer
from services.navigation.poses.settings import PoseSettings

NAME = "navigation_poses"
SERVICE = "glioserve.navigation.v1.PoseService"
MESSAGE_BYTES = 16 << 10
"""A pose has some 200 bytes."""
SWITCH_S = 0.001
"""A scrape of the metrics, in its own thread, may hold a pose up for so long."""
log = logging.getLogger(__name__)


def main() -> int:
    """Runs the process until SIGTERM; gives the exit code."""
    return run_process(NAME, _run)


def _run(process: Process) -> None:
    settings = load(PoseSettings, NAME, process.environ)
    tls = load(TlsSettings, "tls", process.environ)
    sys.setswitchinterval(SWITCH_S)
    _prioritise(wanted=settings.real_time)
    asyncio.run(_serve(process, settings, tls))


def _prioritise(*, wanted: bool) -> None:
    """Before the server's threads exist: they take after this one."""
    granted = wanted and take_real_time()
    log.info("poses.priority", extra={"state": "real_time" if granted else "ordinary"})


async def _serve(process: Process, settings: PoseSettings, tls: TlsSettings) -> None:
    drain = asyncio.Event()
    forward_stop(process.stop, drain)
    server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.streams)
    servicer = PoseServicer(process.home.theatre_poses, _rules(settings), process.clock, process.metrics)
    pose_service_pb2_grpc.add_PoseServiceServicer_to_server(servicer, server)
    health = await add_health(server, SERVICE)
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
        a_second=settings.poses_per_second,
        stale=StaleRules(
            mask_s=settings.mask_stale_s,
            registration_s=settings.registration_stale_s,
            clock_s=settings.clock_stale_ms / 1000,
        ),
    )


def _options(settings: PoseSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        *connection_options(settings),
        ("grpc.http2.bdp_probe", 0),  # it would widen the window for a client that sends and does not read
    ]
