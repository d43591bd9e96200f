"""The process of a stage: one handler behind two doors, the bus and gRPC (architecture section 3).

All five stages run this; what differs is the handler that `build` makes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from contextlib import ExitStack
from dataclasses import dataclass

import grpc
from glioserve.stage.v1 import stage_service_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from pydantic import Field, field_validator

from services.core.bus.factory import open_bus
from services.core.bus.loop import ConsumerLoop, LoopSpec, RetryPolicy
from services.core.bus.topics import BUS_LANES, all_topics, request_topic, stage_group
from services.core.runtime.health import Check, HealthServer
from services.core.runtime.home import publish_endpoints
from services.core.runtime.process import Process, run_process
from services.core.runtime.settings import ServiceSettings, load
from services.core.runtime.stage import RunPorts, StageHandler
from services.core.runtime.stage_doors import BusDoor, StageServicer
from services.core.runtime.steps import WardCheckpoint
from services.core.security.exposure import is_loopback
from services.core.storage.factory import Writes, open_blobs
from services.core.storage.port import BlobStore

STAGE_SERVICE = "glioserve.stage.v1.StageService"
log = logging.getLogger(__name__)


class DoorSettings(ServiceSettings):
    """Where a stage listens; read from GLIOSERVE_STAGE__<NAME>, the same for every stage."""

    host: str = Field(default="127.0.0.1", description="Address of the gRPC port: loopback, while it has no TLS.")
    grpc_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    health_host: str = Field(default="127.0.0.1", description="Health and metrics: plain HTTP, no study data.")
    health_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    partitions: int = Field(default=4, ge=1, description="Partitions of topics that this process has to create.")

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if not is_loopback(host):
            raise ValueError(f"listening on {host} needs TLS, which this door does not have yet")
        return host


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
        checkpoint = WardCheckpoint(process.home.theatre_lock, process.stop)
        door = BusDoor(built.handler, ports, producer, checkpoint)
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
        server, grpc_port, serving = _grpc_server(StageServicer(built.handler, ports, process.stop), settings)
        stack.callback(lambda: server.stop(grace=5).wait())
        checks = {"bus": loop.alive, "brake": lambda: not loop.braked, **built.checks}
        probes = HealthServer(process.metrics.registry, checks, settings.health_host, settings.health_port)
        stack.enter_context(probes)
        publish_endpoints(
            process.home,
            process.service,
            {"grpc": f"{settings.host}:{grpc_port}", "health": probes.address},
        )
        stack.callback(publish_endpoints, process.home, process.service, None)
        stopper = threading.Thread(target=_not_serving_on_stop, args=(process.stop, serving), daemon=True)
        stopper.start()
        loop.run(process.stop)


def _grpc_server(servicer: StageServicer, settings: DoorSettings) -> tuple[grpc.Server, int, health.HealthServicer]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    stage_service_pb2_grpc.add_StageServiceServicer_to_server(servicer, server)
    serving = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(serving, server)
    for name in ("", STAGE_SERVICE):
        serving.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    server.start()
    return server, port, serving


def _not_serving_on_stop(stop: threading.Event, serving: health.HealthServicer) -> None:
    stop.wait()
    serving.enter_graceful_shutdown()
