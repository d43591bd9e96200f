"""Wires the operating room's server together: adapters, sessions, the gRPC server, health. Nothing else here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from services.core.contracts.enums import Stage
from services.core.runtime.health import HealthServer
from services.core.runtime.heap import return_large_blocks
from services.core.runtime.home import Home, publish_endpoints, read_endpoints
from services.core.runtime.process import Process
from services.core.runtime.settings import load
from services.core.security.pseudonym import KEY_FILE, Pseudonyms
from services.core.security.tls import TlsSettings, aio_channel
from services.core.storage.bounded import COMMON
from services.core.storage.factory import TMPFS_SCHEME, open_blobs, open_sessions
from services.core.storage.port import SessionStore
from services.core.storage.settings import TmpfsSettings
from services.navigation.adapters.gateway import GatewayDoor, GatewayStudies
from services.navigation.adapters.lock import FileLock
from services.navigation.adapters.material import TheatreMaterial
from services.navigation.adapters.poses import PoseFolders
from services.navigation.adapters.results import DurableResults, SpoolRelay
from services.navigation.adapters.stages import GrpcStages
from services.navigation.entrypoints.grpc_server import forward_stop
from services.navigation.entrypoints.rpc import NavigationServicer
from services.navigation.entrypoints.server import serving
from services.navigation.handlers.incoming import Patience
from services.navigation.handlers.registry import Place, Registry
from services.navigation.handlers.series import SeriesWork
from services.navigation.handlers.session import Bounds, SessionPorts
from services.navigation.settings import NavigationSettings

_ENDPOINTS = {Stage.PREPARE: "theatre_preprocessing", Stage.SEGMENT: "theatre_fusion_segmentation"}
POSES = "navigation_poses"
MEMORY_S = 2.0


def run(process: Process) -> None:
    """Serves until the process is asked to stop. Raises SettingsError on settings that must not be served."""
    settings = load(NavigationSettings, "navigation", process.environ)
    tls = load(TlsSettings, "tls", process.environ)
    return_large_blocks()
    asyncio.run(_serve(process, settings, tls))


async def _serve(process: Process, settings: NavigationSettings, tls: TlsSettings) -> None:
    drain = asyncio.Event()
    forward_stop(process.stop, drain)
    async with AsyncExitStack() as stack:
        parts = await _wired(process, settings, tls, stack)
        servicer = NavigationServicer(parts.registry, process.clock, process.metrics)
        port = await stack.enter_async_context(serving(servicer, settings, tls, drain))
        parts.place.listens_on(settings.advertised or f"{settings.host}:{port}")
        checks = {"sessions": lambda: not parts.registry.draining}
        probes = HealthServer(process.metrics.registry, checks, settings.health_host, settings.health_port)
        stack.enter_context(probes)
        addresses = {"grpc": f"{settings.host}:{port}", "health": probes.address}
        publish_endpoints(process.home, process.service, addresses)
        stack.callback(publish_endpoints, process.home, process.service, None)
        chores = [asyncio.create_task(parts.relay.run()), asyncio.create_task(_measure(process, parts))]
        await drain.wait()
        await parts.registry.drain(settings.drain_s)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await parts.relay.sweep()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    registry: Registry
    place: Place
    relay: SpoolRelay
    material: TheatreMaterial


async def _wired(process: Process, settings: NavigationSettings, tls: TlsSettings, stack: AsyncExitStack) -> _Parts:
    home = process.home
    theatre = open_sessions(f"{TMPFS_SCHEME}{home.theatre}", process.environ)
    ward = open_blobs(process.shared.blobs, home, process.environ)
    pseudonyms = Pseudonyms(settings.pseudonym_key or home.vault / KEY_FILE)
    door = GatewayDoor(lambda: settings.gateway or _address(home, "gateway", "theatre"), tls)
    stack.push_async_callback(door.close)
    stages = GrpcStages(_stage_address(home, settings), tls)
    stack.push_async_callback(stages.close)
    _release(theatre)  # what a start left that ended without a word
    stack.callback(_release, theatre)
    poses = PoseFolders(home.theatre_poses, process.clock)
    poses.clear()
    stack.callback(poses.clear)
    stack.callback(poses.close)
    material = TheatreMaterial(theatre, home.theatre, pseudonyms)
    spool = home.root / "navigation" / "spool"
    ports = SessionPorts(
        work=SeriesWork(stages, material, process.clock),
        material=material,
        poses=poses,
        results=DurableResults(theatre, ward, spool),
        lock=FileLock(home.theatre_lock, process.metrics),
        clock=process.clock,
        metrics=process.metrics,
        turn=asyncio.Semaphore(settings.series_at_once),
        bounds=_bounds(settings, load(TmpfsSettings, "tmpfs", process.environ)),
    )
    place = Place(
        boot=secrets.token_hex(8),
        poses_address=lambda: settings.poses_advertised or _address(home, POSES, "grpc") or "",
    )
    studies = GatewayStudies(door, ward, theatre)
    registry = Registry(place, studies, ports, settings.sessions, lambda address: _alive(address, tls))
    return _Parts(registry=registry, place=place, relay=SpoolRelay(spool, door, process.metrics), material=material)


def _release(store: SessionStore) -> None:
    """Frees all sessions. The common part stays: the theatre's stages have it open."""
    for session in store.sessions():
        if session != COMMON:
            store.release(session)


def _bounds(settings: NavigationSettings, memory: TmpfsSettings) -> Bounds:
    return Bounds(
        series_bytes=settings.series_bytes,
        session_bytes=memory.session_bytes,
        answer_bytes=settings.answer_bytes,
        patience=Patience(lock_s=settings.silent_s, upload_s=settings.upload_expires_s),
        remembered_s=settings.remembered_s,
    )


def _stage_address(home: Home, settings: NavigationSettings) -> Callable[[Stage], str | None]:
    stated = {Stage.PREPARE: settings.preparation, Stage.SEGMENT: settings.segmentation}
    return lambda stage: stated[stage] or _address(home, _ENDPOINTS[stage], "grpc")


def _address(home: Home, service: str, door: str) -> str | None:
    return read_endpoints(home).get(service, {}).get(door)


async def _alive(address: str, tls: TlsSettings) -> bool:
    """Whether something answers there: a session's other home may be gone."""
    async with aio_channel(address, tls) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), timeout=1.0)
        except TimeoutError:
            return False
    return True


async def _measure(process: Process, parts: _Parts) -> None:
    while True:
        held = sum(session.log.size for session in parts.registry.sessions)
        process.metrics.navigation_memory_bytes.set(held + await asyncio.to_thread(parts.material.held_bytes))
        await asyncio.sleep(MEMORY_S)
