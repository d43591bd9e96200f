"""Wires the gateway together: adapters, ports, threads, the HTTP server. Nothing else here."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from fastapi import APIRouter

from services.core.bus.factory import open_bus
from services.core.bus.loop import ConsumerLoop, LoopSpec, RetryPolicy
from services.core.bus.port import Admin, Bus
from services.core.bus.topics import (
    BUS_LANES,
    GATEWAY_GROUP,
    OUTCOME_TOPIC,
    all_topics,
    request_topic,
    retry_topic,
    stage_group,
)
from services.core.contracts.enums import Stage
from services.core.runtime.health import HealthServer
from services.core.runtime.home import publish_endpoints
from services.core.runtime.process import Process
from services.core.runtime.settings import SettingsError, affects_result, load
from services.core.security.exposure import require_protection
from services.core.security.tls import TlsSettings
from services.core.security.tokens import BearerTokens
from services.core.storage.factory import Writes, open_blobs
from services.gateway.adapters.database import Database, open_postgres, open_sqlite
from services.gateway.adapters.inspection import ImagingInspector
from services.gateway.adapters.migrating import bring_up_to_date
from services.gateway.adapters.staging import StagingFolder
from services.gateway.adapters.stamping import IdentityStamper
from services.gateway.adapters.state import SqlStateStore
from services.gateway.adapters.vault import Vault
from services.gateway.adapters.views import SqlViews
from services.gateway.domain.upload import Limits
from services.gateway.domain.view import StudyState
from services.gateway.entrypoints import stow
from services.gateway.entrypoints.context import Changes, HttpContext, StreamLimits
from services.gateway.entrypoints.http_api import create_app
from services.gateway.entrypoints.loops import OutcomeDoor, Sweeper
from services.gateway.entrypoints.pages import pages_router
from services.gateway.entrypoints.server import Binding, HttpServer
from services.gateway.entrypoints.theatre_rpc import TheatreDoor, TheatreServicer
from services.gateway.handlers.background import OutboxRelay, Reconciler
from services.gateway.handlers.intake import IntakePorts, close_quiet_studies
from services.gateway.handlers.progress import FlowPorts
from services.gateway.ports import IdentityVault
from services.gateway.settings import DatabaseSettings, DicomSettings, GatewaySettings

if TYPE_CHECKING:
    from services.gateway.entrypoints.dicom_listener import DicomListener

RELAY_S = 1.0
CLOSE_S = 1.0
COUNT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The wired parts of one process; further doors (DICOM, web pages) are added on top of them."""

    settings: GatewaySettings
    database: Database
    vault: IdentityVault
    context: HttpContext


def run(process: Process) -> None:
    """Serves until the process is asked to stop. Raises SettingsError on settings that must not be served."""
    settings = load(GatewaySettings, "gateway", process.environ)
    require_protection(settings.host, settings.tls_certificate, settings.tls_key, settings.tokens)
    bus = open_bus(process.shared.bus, process.home)
    with ExitStack() as stack:
        gateway = stack.enter_context(wired(process, settings))
        threads, checks = _threads(process, gateway, bus, stack)
        for name, body in threads.items():
            thread = threading.Thread(target=body, args=(process.stop,), name=name)
            thread.start()
            stack.callback(thread.join)
        stack.callback(process.stop.set)
        stack.callback(gateway.context.changes)
        server = stack.enter_context(serving(gateway, checks, [pages_router(gateway.vault), stow.router]))
        all_checks = {**checks, "http": server.serving}
        doors = {"http": server.url}
        if listener := dicom_listener(gateway):
            stack.enter_context(listener)
            all_checks["dicom"] = listener.serving
            doors["dicom"] = listener.address
        if theatre := theatre_door(process, gateway):
            stack.enter_context(theatre)
            doors["theatre"] = theatre.address
        probes = HealthServer(process.metrics.registry, all_checks, settings.health_host, settings.health_port)
        stack.enter_context(probes)
        publish_endpoints(process.home, process.service, {**doors, "health": probes.address})
        stack.callback(publish_endpoints, process.home, process.service, None)
        while not process.stop.wait(1.0):
            if not server.serving():
                raise RuntimeError("the HTTP server has ended")


@contextmanager
def wired(process: Process, settings: GatewaySettings) -> Iterator[Gateway]:
    """All parts but the threads and the servers; closes them at the end."""
    hit = process.failpoints.hit
    writes = Writes(before=lambda: hit("gateway.before_blob"), after=lambda: hit("gateway.after_blob"))
    blobs = open_blobs(process.shared.blobs, process.home, process.environ, writes)
    staging = StagingFolder(process.home.staging, _limits(settings), settings.free_bytes)
    staging.clean()
    changes = Changes()
    with ExitStack() as stack:
        database = _postgres(settings.state, "STATE") or open_sqlite(process.home.state)
        stack.callback(database.close)
        bring_up_to_date(database)
        vault = Vault(process.home.vault, _postgres(settings.vault, "VAULT"), settings.pseudonym_key)
        stack.callback(vault.close)
        flow = FlowPorts(
            state=SqlStateStore(database),
            blobs=blobs,
            clock=process.clock,
            failpoints=process.failpoints,
            changed=changes,
        )
        context = HttpContext(
            intake=IntakePorts(
                flow=flow, vault=vault, settings_hash=affects_result(settings), quiet_s=settings.quiet_s
            ),
            views=SqlViews(database),
            blobs=blobs,
            staging=staging,
            inspector=ImagingInspector(),
            stamper=IdentityStamper(vault),
            changes=changes,
            metrics=process.metrics,
            examining=CapacityLimiter(settings.uploads_at_once),
            limits=StreamLimits(heartbeat_s=settings.heartbeat_s, streams=settings.streams),
            tokens=_tokens(settings),
            stop=process.stop,
        )
        yield Gateway(settings=settings, database=database, vault=vault, context=context)


def serving(gateway: Gateway, checks: Mapping[str, Callable[[], bool]], extra: Sequence[APIRouter] = ()) -> HttpServer:
    """The HTTP server of a wired gateway."""
    settings = gateway.settings
    return HttpServer(
        create_app(gateway.context, checks, extra),
        Binding(
            host=settings.host,
            port=settings.port,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            drain_s=settings.drain_s,
        ),
    )


def dicom_listener(gateway: Gateway) -> DicomListener | None:
    """The C-STORE listener of a wired gateway, or None where no settings ask for it. Raises SettingsError."""
    settings = gateway.settings.dicom
    if settings.port is None:
        return None
    from services.gateway.entrypoints.dicom_listener import DicomListener, Listening  # pynetdicom: half a second

    listening = Listening(
        host=settings.host,
        port=settings.port,
        ae_title=settings.ae_title,
        calling=settings.calling,
        tls=_dicom_tls(settings),
        associations=settings.associations,
        pdu_bytes=settings.pdu_bytes,
        within_s=settings.within_s,
        drain_s=gateway.settings.drain_s,
    )
    return DicomListener(listening, gateway.context)


def theatre_door(process: Process, gateway: Gateway) -> TheatreDoor | None:
    """The internal door of the operating room, or None where gRPC has neither certificates nor leave for plain text."""
    tls = load(TlsSettings, "tls", process.environ)
    if tls.certificate is None and not tls.plain:
        return None
    context, settings = gateway.context, gateway.settings
    servicer = TheatreServicer(context.views, context.intake.flow)
    return TheatreDoor(servicer, tls, settings.theatre_host, settings.theatre_port)


def _dicom_tls(settings: DicomSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_peers)
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        raise SettingsError(f"GLIOSERVE_GATEWAY__DICOM__TLS_*: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _threads(
    process: Process, gateway: Gateway, bus: Bus, stack: ExitStack
) -> tuple[dict[str, Callable[[threading.Event], None]], dict[str, Callable[[], bool]]]:
    """The bodies of the gateway's threads and the checks on them."""
    context, settings = gateway.context, gateway.settings
    flow, state = context.intake.flow, context.intake.flow.state
    admin, producer = bus.admin(), bus.producer()
    stack.callback(admin.close)
    stack.callback(producer.close)
    admin.ensure_topics(all_topics(), settings.partitions)
    door = OutcomeDoor(flow)
    outcomes = ConsumerLoop(
        bus,
        LoopSpec(group=GATEWAY_GROUP, topics=(OUTCOME_TOPIC,), retry=False, after_commit=None),
        work=door.work,
        on_dead=door.dead,
        clock=process.clock,
        metrics=process.metrics,
        failpoints=process.failpoints,
        policy=RetryPolicy(budget_s=process.shared.retry_budget_s),
    )
    relay = OutboxRelay(state, producer, process.clock, process.failpoints, process.metrics)
    reconciler = Reconciler(state, admin, process.clock, process.shared.retry_budget_s)
    sweepers = {
        "relay": Sweeper("relay", relay.sweep, RELAY_S, context.changes.relay),
        "reconciler": Sweeper("reconciler", reconciler.sweep, settings.reconcile_s),
        "closing": Sweeper("closing", lambda: close_quiet_studies(context.intake), CLOSE_S),
        "counting": Sweeper("counting", lambda: _count(gateway, admin), COUNT_S),
    }
    bodies: dict[str, Callable[[threading.Event], None]] = {name: s.run for name, s in sweepers.items()}
    checks: dict[str, Callable[[], bool]] = {name: s.healthy for name, s in sweepers.items()}
    return (
        {**bodies, "outcomes": outcomes.run},
        {**checks, "outcomes": outcomes.alive, "brake": lambda: not outcomes.braked},
    )


def _count(gateway: Gateway, admin: Admin) -> None:
    metrics, counts = gateway.context.metrics, gateway.context.views.state_counts()
    for state in StudyState:
        metrics.studies.labels(state).set(counts.get(state, 0))
    for stage, lane in product(Stage, BUS_LANES):
        topic = request_topic(stage, lane)
        waiting = sum(admin.backlog(stage_group(stage), name) for name in (topic, retry_topic(topic)))
        metrics.backlog.labels(stage, lane).set(waiting)
    if (free := gateway.context.blobs.free_bytes()) is not None:
        metrics.free_bytes.labels("blobs").set(free)


def _postgres(settings: DatabaseSettings, name: str) -> Database | None:
    try:
        url = settings.address()
        return open_postgres(url, settings.ca, settings.connections) if url is not None else None
    except (OSError, ValueError) as error:
        raise SettingsError(f"GLIOSERVE_GATEWAY__{name}__*: {error}") from None


def _limits(settings: GatewaySettings) -> Limits:
    return Limits(
        total_bytes=settings.upload_bytes,
        file_bytes=settings.file_bytes,
        unpacked_bytes=settings.unpacked_bytes,
        files=settings.upload_files,
        depth=settings.upload_depth,
        ratio=settings.ratio,
    )


def _tokens(settings: GatewaySettings) -> BearerTokens | None:
    if settings.tokens is None:
        return None
    try:
        return BearerTokens.from_file(settings.tokens)
    except (OSError, ValueError) as error:
        raise SettingsError(f"GLIOSERVE_GATEWAY__TOKENS: {error}") from error
