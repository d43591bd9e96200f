"""The process of a stage: one handler behind two doors, the bus and gRPC (architecture section 3).

All five stages run this; what differs is the handler that `build` makes. In the lane `theatre` (rule 7) there is no
bus: only the gRPC door, over the theatre's store in memory, under the name `theatre_<service>`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Self

import grpc
from glioserve.stage.v1 import stage_service_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from pydantic import Field, model_validator

from services.core.bus.factory import open_bus
from services.core.bus.loop import ConsumerLoop, LoopSpec, RetryPolicy
from services.core.bus.topics import BUS_LANES, all_topics, request_topic, stage_group
from services.core.contracts.enums import Stage
from services.core.runtime.health import Check, HealthServer
from services.core.runtime.home import publish_endpoints
from services.core.runtime.process import Process, run_process
from services.core.runtime.settings import ServiceSettings, load
from services.core.runtime.stage import RunPorts, StageHandler
from services.core.runtime.stage_doors import BusDoor, StageServicer
from services.core.runtime.steps import WardCheckpoint
from services.core.security.exposure import is_loopback
from services.core.security.tls import TlsSettings, listen
from services.core.storage.factory import TMPFS_SCHEME, Writes, open_blobs, open_sessions
from services.core.storage.port import BlobStore

STAGE_SERVICE = "glioserve.stage.v1.StageService"
WARD: Final = "ward"
THEATRE: Final = "theatre"
THEATRE_PREFIX = "theatre_"
log = logging.getLogger(__name__)


class DoorSettings(ServiceSettings):
    """Where a stage listens; read from GLIOSERVE_STAGE__<NAME>, the same for every stage."""

    lane: Literal["ward", "theatre"] = Field(
        default=WARD, description="`theatre`: no bus, only the gRPC door, over the theatre's store in memory."
    )
    host: str = Field(default="127.0.0.1", description="Address of the gRPC port; the ward's stays on loopback.")
    grpc_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    health_host: str = Field(default="127.0.0.1", description="Health and metrics: plain HTTP, no study data.")
    health_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    partitions: int = Field(default=4, ge=1, description="Partitions of topics that this process has to create.")

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if self.lane == WARD and not is_loopback(self.host):
            raise ValueError(f"nobody asks the ward's stages by gRPC from outside: {self.host} is not loopback")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a service's `build` gives: its handler, its own readiness checks, and what to close at the end."""

    handler: StageHandler
    checks: Mapping[str, Check]
    close: Callable[[], None] = lambda: None


def main(service: str, build: Callable[[Process, BlobStore], Built]) -> int:
    """Runs a stage until SIGTERM; gives the exit code."""
    return run_process(service, lambda process: _serve(process, build))


def _serve(process: Process, build: Callable[[Process, BlobStore], Built]) -> None:
    settings = load(DoorSettings, "stage", process.environ)
    if settings.lane == WARD:
        _serve_ward(process, build, settings)
    else:
        _serve_theatre(process, build, settings)


def _serve_ward(process: Process, build: Callable[[Process, BlobStore], Built], settings: DoorSettings) -> None:
    hit = process.failpoints.hit
    writes = Writes(before=lambda: hit("stage.before_blob"), after=lambda: hit("stage.after_blob"))
    blobs = open_blobs(process.shared.blobs, process.home, process.environ, writes)
    ports = RunPorts(blobs=blobs, clock=process.clock, failpoints=process.failpoints, metrics=process.metrics)
    bus = open_bus(process.shared.bus, process.home)
    with ExitStack() as stack:
        built = build(process, blobs)
        stack.callback(built.close)
        stage = built.handler.stage
        admin = bus.admin()
        admin.ensure_topics(all_topics(), settings.partitions)
        admin.close()
        producer = bus.producer()
        stack.callback(producer.close)
        door = BusDoor(built.handler, ports, producer, _ward_checkpoint(process, stage))
        loop = ConsumerLoop(
            bus,
            LoopSpec(
                group=stage_group(stage), topics=tuple(request_topic(stage, lane) for lane in BUS_LANES), retry=True
            ),
            work=door.work,
            on_dead=door.dead,
            clock=process.clock,
            metrics=process.metrics,
            failpoints=process.failpoints,
            policy=RetryPolicy(budget_s=process.shared.retry_budget_s),
        )
        servicer = StageServicer(built.handler, ports, process.stop)
        checks = {"bus": loop.alive, "brake": lambda: not loop.braked, **built.checks}
        stack.enter_context(_doors(process, servicer, settings, checks))
        loop.run(process.stop)


def _ward_checkpoint(process: Process, stage: Stage) -> WardCheckpoint:
    waited = process.metrics.theatre_yield_seconds.labels(stage)
    return WardCheckpoint(process.home.theatre_lock, process.stop, on_yield=waited.inc)


def _serve_theatre(process: Process, build: Callable[[Process, BlobStore], Built], settings: DoorSettings) -> None:
    place = process.shared.blobs
    blobs = open_sessions(
        place if place.startswith(TMPFS_SCHEME) else f"{TMPFS_SCHEME}{process.home.theatre}", process.environ
    )
    ports = RunPorts(blobs=blobs, clock=process.clock, failpoints=process.failpoints, metrics=process.metrics)
    with ExitStack() as stack:
        built = build(process, blobs)
        stack.callback(built.close)
        servicer = StageServicer(built.handler, ports, process.stop, blobs.within)
        stack.enter_context(_doors(process, servicer, settings, built.checks))
        process.stop.wait()


@contextmanager
def _doors(
    process: Process, servicer: StageServicer, settings: DoorSettings, checks: Mapping[str, Check]
) -> Iterator[None]:
    """The gRPC door and the health port, told to the home while the context lasts."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    serving = _services(server, servicer)
    port = _port(process, server, settings)
    server.start()
    name = process.service if settings.lane == WARD else f"{THEATRE_PREFIX}{process.service}"
    try:
        with HealthServer(process.metrics.registry, checks, settings.health_host, settings.health_port) as probes:
            addresses = {"grpc": f"{settings.host}:{port}", "health": probes.address}
            publish_endpoints(process.home, name, addresses)
            threading.Thread(target=_not_serving_on_stop, args=(process.stop, serving), daemon=True).start()
            try:
                yield
            finally:
                publish_endpoints(process.home, name, None)
    finally:
        server.stop(grace=5).wait()


def _services(server: grpc.Server, servicer: StageServicer) -> health.HealthServicer:
    stage_service_pb2_grpc.add_StageServiceServicer_to_server(servicer, server)
    serving = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(serving, server)
    for name in ("", STAGE_SERVICE):
        serving.set(name, health_pb2.HealthCheckResponse.SERVING)
    return serving


def _port(process: Process, server: grpc.Server, settings: DoorSettings) -> int:
    """The ward's door is loopback only and asked by nobody else's process; the theatre's speaks as navigation does."""
    if settings.lane == WARD:
        return server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    return listen(server, load(TlsSettings, "tls", process.environ), settings.host, settings.grpc_port)


def _not_serving_on_stop(stop: threading.Event, serving: health.HealthServicer) -> None:
    stop.wait()
    serving.enter_graceful_shutdown()
