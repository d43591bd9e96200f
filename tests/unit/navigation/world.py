"""The operating room's server on a free port, with stages that a test scripts: masks of eight voxels a side at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Modality, OutcomeStatus, SegmentStep, Stage
from services.core.contracts.errors import Transient
from services.core.contracts.events import ManifestRef, StageOutcome, StageRequest, run_id_for
from services.core.contracts.facts import IntakeFacts, PrepareFacts, SegmentFacts, SeriesFacts
from services.core.contracts.manifest import Manifest
from services.core.imaging.codec import VOLUME_MEDIA_TYPE, encode_volume
from services.core.imaging.labels import LABEL_SCHEMA
from services.core.imaging.volume import Volume
from services.core.runtime.clock import SystemClock
from services.core.runtime.home import Home
from services.core.runtime.stage import read_manifest, store_manifest
from services.core.security.pseudonym import Pseudonyms
from services.core.security.tls import TlsSettings
from services.core.storage.bounded import BoundedBlobStore, Budget
from services.core.storage.local import LocalBlobStore
from services.core.telemetry.metrics import Metrics
from services.navigation.adapters.lock import FileLock
from services.navigation.adapters.material import TheatreMaterial
from services.navigation.adapters.results import DurableResults
from services.navigation.domain.answers import Fault, MaskAnswer, Reason
from services.navigation.domain.pose_state import Surroundings
from services.navigation.entrypoints.rpc import NavigationServicer
from services.navigation.entrypoints.server import serving
from services.navigation.handlers.incoming import Patience
from services.navigation.handlers.registry import Place, Registry
from services.navigation.handlers.series import SeriesWork
from services.navigation.handlers.session import Bounds, SessionPorts
from services.navigation.ports import KnownStudy
from services.navigation.settings import NavigationSettings

PLAIN = TlsSettings(plain=True)
SHAPE = (8, 8, 8)
SESSION_BYTES = 512 << 20


@dataclass(slots=True, kw_only=True)
class Script:
    """What the stages do: `before` is awaited at the start of each run and may wait or raise."""

    before: Callable[[StageRequest], asyncio.Future[None] | None] = lambda _: None
    runs: list[StageRequest] = field(default_factory=list)
    cancelled: list[StageRequest] = field(default_factory=list)


class ScriptedStages:
    """The port `Stages` without networks."""

    def __init__(self, blobs: BoundedBlobStore, script: Script) -> None:
        self._blobs = blobs
        self._script = script

    async def run(self, request: StageRequest, session: str, within_s: float) -> StageOutcome:
        self._script.runs.append(request)
        try:
            async with asyncio.timeout(within_s):
                waiting = self._script.before(request)
                if waiting is not None:
                    await waiting
        except asyncio.CancelledError:
            self._script.cancelled.append(request)
            raise
        except TimeoutError:
            raise Transient("INFERENCE_UNAVAILABLE", "no answer in time") from None
        with self._blobs.within(session):
            manifest = self._prepared(request) if request.stage is Stage.PREPARE else self._segmented(request)
            ref = store_manifest(self._blobs, request.stage, manifest)
        return StageOutcome(
            request_id=request.request_id,
            stage=request.stage,
            study=request.study,
            lane=request.lane,
            status=OutcomeStatus.COMPLETED,
            run_id=manifest.run_id,
            emitted_at=SystemClock().now(),
            manifest=ref,
        )

    def _prepared(self, request: StageRequest) -> Manifest:
        intake = request.input("intake")
        assert intake is not None
        told = read_manifest(self._blobs, intake)
        facts = IntakeFacts(**{**told.facts, "series": ()})  # type: ignore[arg-type]
        name = str(told.facts["series"][0]["series"])  # type: ignore[index, call-overload]
        described = PrepareFacts(
            source=facts.source,
            acquired_at=None,
            reference=Modality.T1C,
            reference_series=name,
            native_shape=SHAPE,
            native_affine=_rows(np.eye(4)),
            canonical_affine=_rows(np.eye(4)),
            brain_ml=0.5,
            series=(
                SeriesFacts(
                    series=name,
                    modality=Modality.T1C,
                    used=True,
                    reason="",
                    shape=SHAPE,
                    spacing_mm=(1.0, 1.0, 1.0),
                    to_reference=_rows(np.diag([1.0, 1.0, 1.0, 1.0])),
                ),
            ),
        )
        brain = self._put(np.ones(SHAPE, np.uint8), "mask")
        return _manifest(request, {"brain_mask": brain}, to_document(described))

    def _segmented(self, request: StageRequest) -> Manifest:
        labels = np.zeros(SHAPE, np.uint8)
        labels[2:5, 2:5, 2:5] = 2
        facts = SegmentFacts(
            label_schema=LABEL_SCHEMA,
            step=request.step or SegmentStep.BOTH,
            volumes_ml={"WT": 0.027},
            used=(Modality.T1C,),
            gates={},
            markers=(),
            mean_vacuity=0.1,
            centroid_ras_mm=None,
        )
        grid = "coarse" if request.step is SegmentStep.COARSE else "canonical"
        outputs = {
            f"mask/{grid}": self._put(labels, "mask"),
            f"vacuity/{grid}": self._put(np.full(SHAPE, 40, np.uint8), "vacuity"),
        }
        return _manifest(request, outputs, to_document(facts))

    def _put(self, data: np.ndarray, modality: str) -> object:
        volume = Volume(data=data, affine=np.eye(4), modality=modality, units="label", provenance={})
        return self._blobs.put(encode_volume(volume), VOLUME_MEDIA_TYPE)


class NoPoses:
    """Remembers what poses would see."""

    def __init__(self) -> None:
        self.shown: list[MaskAnswer] = []
        self.gone: list[str] = []
        self.stale: list[str] = []

    async def show(self, token: str, answer: MaskAnswer, around: Surroundings) -> None:
        assert around.brain is not None
        self.shown.append(answer)

    def opened(self, token: str) -> None:
        return None

    def outdated(self, token: str) -> None:
        self.stale.append(token)

    def forget(self, token: str) -> None:
        self.gone.append(token)


class NoStudies:
    """A gateway that knows one study and may be away."""

    away = False

    async def study(self, study: str, session: str) -> KnownStudy:
        if self.away:
            raise Transient("GATEWAY_AWAY", "the gateway did not answer")
        raise Fault(Reason.STUDY_UNKNOWN, f"the gateway knows no study {study}")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a test sees of the running server."""

    address: str
    home: Home
    script: Script
    poses: NoPoses
    studies: NoStudies
    store: BoundedBlobStore
    ward: LocalBlobStore
    metrics: Metrics
    registry: Registry
    drain: Callable[[], object]
    stop: threading.Event


@contextmanager
def running(folder: Path, tls: TlsSettings = PLAIN, **changes: float) -> Iterator[World]:
    """A server in a thread of its own. `changes`: settings of the navigation."""
    ready: list[World] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with _world(folder, NavigationSettings.model_validate(changes), tls, stop) as world:
            ready.append(world)
            started.set()
            await asyncio.to_thread(stop.wait)
            await world.registry.drain(20.0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="navigation")
    thread.start()
    try:
        assert started.wait(20.0), "the server did not start"
        yield ready[0]
    finally:
        stop.set()
        thread.join()


@asynccontextmanager
async def _world(
    folder: Path, settings: NavigationSettings, tls: TlsSettings, stop: threading.Event
) -> AsyncIterator[World]:
    home = Home(folder)
    home.prepare()
    store = BoundedBlobStore(folder / "theatre", Budget(total=2 << 30, session=SESSION_BYTES))
    script, poses, studies = Script(), NoPoses(), NoStudies()
    metrics, clock = Metrics(CollectorRegistry()), SystemClock()
    material = TheatreMaterial(store, folder / "theatre", Pseudonyms(home.vault / "pseudonym.key"))
    ward = LocalBlobStore(home.blobs)
    ports = SessionPorts(
        work=SeriesWork(ScriptedStages(store, script), material, clock),
        material=material,
        poses=poses,
        results=DurableResults(store, ward, folder / "spool"),
        lock=FileLock(home.theatre_lock, metrics),
        clock=clock,
        metrics=metrics,
        turn=asyncio.Semaphore(settings.series_at_once),
        bounds=Bounds(
            series_bytes=settings.series_bytes,
            session_bytes=SESSION_BYTES,
            answer_bytes=settings.answer_bytes,
            patience=Patience(lock_s=settings.silent_s, upload_s=settings.upload_expires_s),
            remembered_s=settings.remembered_s,
        ),
    )

    async def alive(address: str) -> bool:
        return address == "127.0.0.1:1"

    place = Place("boot", lambda: "")
    registry = Registry(place, studies, ports, settings.sessions, alive)
    drain = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        servicer = NavigationServicer(registry, clock, metrics)
        port = await stack.enter_async_context(serving(servicer, settings, tls, drain))
        place.listens_on(f"127.0.0.1:{port}")
        yield World(
            address=place.address,
            home=home,
            script=script,
            poses=poses,
            studies=studies,
            store=store,
            ward=ward,
            metrics=metrics,
            registry=registry,
            drain=lambda: loop.call_soon_threadsafe(drain.set),
            stop=stop,
        )


def _manifest(request: StageRequest, outputs: dict[str, object], facts: object) -> Manifest:
    return Manifest(
        run_id=run_id_for(request, "scripted", []),
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        settings_hash="scripted",
        completeness=Completeness.COMPLETE,
        inputs=request.inputs,
        outputs=outputs,  # type: ignore[arg-type]
        facts=facts,  # type: ignore[arg-type]
    )


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in matrix)


def ref_of(request: StageRequest, role: str) -> ManifestRef:
    """An input of a request."""
    found = request.input(role)
    assert found is not None
    return found
