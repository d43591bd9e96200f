"""A session of the operating room: one patient, series one after the other, answers that outlive a broken stream.

Belongs to one event loop. A stream attaches and detaches; what runs goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from services.core.contracts.errors import GlioServeError
from services.core.contracts.events import ManifestRef
from services.core.contracts.manifest import Manifest
from services.core.runtime.clock import Clock
from services.core.telemetry.metrics import Metrics
from services.core.telemetry.tracing import continued
from services.navigation.domain.answer_log import AnswerLog
from services.navigation.domain.answers import (
    Answer,
    Degraded,
    Fault,
    Limit,
    MaskAnswer,
    Progress,
    Reason,
    SeriesCancelled,
    SeriesRefused,
    Step,
)
from services.navigation.domain.orders import SeriesOrder, Start, checked_order
from services.navigation.domain.token import Token
from services.navigation.domain.upload import Upload
from services.navigation.handlers.counting import count
from services.navigation.handlers.incoming import Incoming, Patience
from services.navigation.handlers.line import Line
from services.navigation.handlers.series import Anatomy, Job, SeriesWork, Voice
from services.navigation.ports import Material, Poses, Received, Results, TheatreLock

KEEP_TRIES = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bytes that a series, a session's series and its answers may take; patience with silence; and how long a session
    is remembered without a stream (s).
    """

    series_bytes: int
    session_bytes: int
    answer_bytes: int
    patience: Patience
    remembered_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPorts:
    """What every session uses. `turn`: as many series as are computed at the same time on this machine."""

    work: SeriesWork
    material: Material
    poses: Poses
    results: Results
    lock: TheatreLock
    clock: Clock
    metrics: Metrics
    turn: asyncio.Semaphore
    bounds: Bounds


class TheatreSession:
    """One session. `ended` is called once, when nobody can come back to it."""

    def __init__(
        self, token: Token, start: Start, anatomy: Anatomy, ports: SessionPorts, ended: Callable[[TheatreSession], None]
    ) -> None:
        self.token = token
        self.anatomy = anatomy
        self.log = AnswerLog(ports.bounds.answer_bytes)
        self.start = start
        self.closed = asyncio.Event()
        self.streams = 0
        self._ports = ports
        self._ended = ended
        self._names: set[str] = set()
        self._incoming: Incoming | None = None
        self._line = Line()
        self._coming_bytes: dict[str, int] = {}
        self._chores: dict[asyncio.Task[None], tuple[ManifestRef, ...]] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._showing = asyncio.Lock()
        self._material_in_use = asyncio.Lock()
        self._tidyings: set[asyncio.Task[None]] = set()
        ports.poses.opened(token.text())

    def attach(self) -> int:
        """A stream takes the session up; an older one finds that `streams` has moved on."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self.streams += 1
        self.log.wake()
        return self.streams

    def detach(self, stream: int) -> None:
        """The stream broke: what runs goes on, and its answers wait."""
        if stream == self.streams and not self.closed.is_set():
            self._remember()

    def upload_state(self) -> tuple[str, int]:
        """The series that is coming in and the chunk that comes next; empty without one."""
        if self._incoming is None:
            return "", 0
        return self._incoming.upload.order.series, self._incoming.upload.next_chunk

    @property
    def busy(self) -> bool:
        """True while a series is computed or waits, or a result is being stored."""
        return bool(self._line.tasks) or bool(self._chores)

    @property
    def waiting(self) -> list[str]:
        """Series that wait, in the order in which they will be computed."""
        return self._line.waiting

    @property
    def held_bytes(self) -> int:
        """Bytes of series in transit or waiting, and of answers that are kept."""
        coming = 0 if self._incoming is None else self._incoming.upload.order.total_bytes
        return coming + sum(self._coming_bytes.values()) + self.log.size

    def header(self, order: SeriesOrder) -> None:
        """A series begins. Raises Fault."""
        if order.series in self._names:
            raise Fault(Reason.SERIES_REPEATED, f"series {order.series} was sent before", "Use a new name.")
        bounds = self._ports.bounds
        checked_order(order, bounds.series_bytes)
        if self._incoming is not None:
            raise Fault(Reason.SEQUENCE_BROKEN, f"series {self.upload_state()[0]} is not complete", "Send it first.")
        if self.held_bytes + order.total_bytes > bounds.session_bytes:
            raise Fault(
                Reason.MEMORY_FULL,
                f"the session holds {self.held_bytes} bytes already",
                "Wait for the answers to earlier series.",
            )
        self._names.add(order.series)
        upload = Upload(order, self._ports.material.uploads(self.token.session, order.series))
        self._incoming = Incoming(upload, self._ports.lock, bounds.patience, self._lost)
        if order.anatomy_changed:
            self._ports.poses.outdated(self.token.text())

    def chunk(self, series: str, sequence: int, data: bytes, crc32c: int) -> None:
        """The next chunk. Chunks of a series that was refused or cancelled are passed over. Raises Fault."""
        incoming = self._coming(series)
        if incoming is None:
            return
        try:
            incoming.add(sequence, data, crc32c)
        except Fault:
            self._drop()
            raise

    def complete(self, series: str, sha256: bytes) -> None:
        """The last chunk was added. Raises Fault."""
        incoming = self._coming(series)
        if incoming is None:
            return
        try:
            digest, lock = incoming.finish(sha256)
        except Fault:
            self._drop()
            raise
        self._incoming = None
        upload = incoming.upload
        job = Job(order=upload.order, digest=digest, files=upload.files, arrived=self._ports.clock.monotonic())
        self._say(Progress(series=series, step=Step.WAITING if self._line.tasks else Step.RECEIVED))
        self._coming_bytes[series] = upload.order.total_bytes
        self._line.start(series, self._answer(job), lambda task: self._over(job, lock, task))

    def cancel(self, series: str) -> None:
        """The series is not wanted any more. Raises Fault for one that is not there."""
        if series not in self._names:
            raise Fault(Reason.SERIES_UNKNOWN, f"there is no series {series[:64]}")
        if self.upload_state()[0] == series:
            self._drop()
        elif not self._line.cancel(series):
            return  # it has its last word already
        self._say(SeriesCancelled(series=series))

    def reprioritise(self, series: str) -> None:
        """The series is computed next. Raises Fault for one that does not wait."""
        if not self._line.to_front(series):
            raise Fault(Reason.SERIES_UNKNOWN, f"series {series[:64]} does not wait")

    def refuse(self, series: str, fault: Fault) -> None:
        """Says that a series, or something asked of one, cannot be."""
        self._say(SeriesRefused(series=series, limit=fault.limit()))

    def end(self) -> None:
        """Ends the session; the stream that asked for it need not wait."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        """Ends the session: what runs is cancelled; what it holds is freed once its results are stored."""
        if self.closed.is_set():
            await self.idle()
            return
        self.closed.set()
        self.log.wake()
        if self._expiry is not None:
            self._expiry.cancel()
        self._drop()
        self._line.cancel_all()
        self._ports.poses.forget(self.token.text())
        await self.idle()
        self._ended(self)
        await asyncio.to_thread(self._ports.material.forget, self.token.session)

    async def idle(self) -> None:
        """Returns once nothing runs, waits or is being stored."""
        while tasks := [*self._chores, *self._line.tasks, *self._tidyings]:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)

    def _coming(self, series: str) -> Incoming | None:
        if self._incoming is not None and self._incoming.upload.order.series == series:
            return self._incoming
        if series in self._names:
            return None
        raise Fault(Reason.SERIES_UNKNOWN, f"there was no header of series {series[:64]}")

    def _drop(self) -> None:
        if self._incoming is not None:
            self._incoming.drop()
            self._incoming = None

    def _lost(self) -> None:
        series, _ = self.upload_state()
        self._drop()
        self.refuse(series, Fault(Reason.UPLOAD_SILENT, "no chunk came for too long", "Send the series again."))

    async def _answer(self, job: Job) -> None:
        voice = Voice(say=self._say, shown=self._show, keep=self._keep)
        with continued("theatre series", {}):
            await self._ports.work.answer(job, self.anatomy, self.start.wanted, voice, self._turn(job.order.series))

    @asynccontextmanager
    async def _turn(self, series: str) -> AsyncIterator[None]:
        """One series of the session at a time, and so many of all sessions as this machine takes."""
        async with self._line.turn(series), self._ports.turn, self._material_in_use:
            yield

    def _over(self, job: Job, lock: ExitStack, task: asyncio.Task[None]) -> None:
        lock.close()
        self._coming_bytes.pop(job.order.series, None)
        self._chore(asyncio.to_thread(self._ports.material.discard, self.token.session, job.order.series))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("theatre.unexpected", exc_info=error)
            self._say(self._broken(job))
        self._tidy()

    def _tidy(self) -> None:
        if not self._tidyings and not self.closed.is_set():
            task = self._spawned(self._tidied())
            self._tidyings.add(task)
            task.add_done_callback(self._tidyings.discard)

    async def _tidied(self) -> None:
        """Frees what earlier series have left, so that a long operation fits into the session's part."""
        async with self._material_in_use:
            in_use = [ref for refs in self._chores.values() for ref in refs]
            session, prepared = self.token.session, self.anatomy.prepared
            await asyncio.to_thread(self._ports.material.tidy, session, prepared, in_use)

    def _broken(self, job: Job) -> Degraded:
        limit = Limit(reason=Reason.INFERENCE_FAILED, message="an unexpected error; the log has the place")
        return Degraded(
            series=job.order.series,
            series_digest=job.digest,
            limit=limit,
            best=self.anatomy.last_mask,
            answered_by=job.due,
        )

    def _say(self, answer: Answer) -> None:
        self.log.add(answer)
        count(self._ports.metrics, answer, self._ports.clock.monotonic())

    def _show(self, answer: MaskAnswer, prepared: Manifest, coarse: ManifestRef) -> None:
        self._chore(self._shown(answer, prepared, coarse), coarse)

    async def _shown(self, answer: MaskAnswer, prepared: Manifest, coarse: ManifestRef) -> None:
        async with self._showing:
            around = await asyncio.to_thread(self._ports.material.around, prepared, coarse)
            await self._ports.poses.show(self.token.text(), answer, around)

    def _keep(self, received: Received, result: ManifestRef) -> None:
        self._chore(self._kept(received, result), received.intake, result)

    async def _kept(self, received: Received, result: ManifestRef) -> None:
        for attempt in range(1, KEEP_TRIES + 1):
            try:
                await asyncio.to_thread(self._ports.results.keep, self.anatomy.study, received, result)
            except GlioServeError as error:
                log.exception(
                    "theatre.not_stored", extra={"code": error.code, "run_id": result.run_id, "attempt": attempt}
                )
                await asyncio.sleep(attempt)
            else:
                return

    def _chore(self, work: Coroutine[object, object, None], *reads: ManifestRef) -> None:
        """Work beside the series; the material of the runs that it `reads` stays until it has ended."""

        def done(task: asyncio.Task[None]) -> None:
            del self._chores[task]
            if reads:
                self._tidy()

        task = self._spawned(work)
        self._chores[task] = reads
        task.add_done_callback(done)

    def _spawned(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("theatre.chore_failed", exc_info=error)

        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(done)
        return task

    def _remember(self) -> None:
        def over() -> None:
            if self.busy:
                self._remember()  # the answers wait for the token after the last of them
            else:
                self.end()

        self._expiry = asyncio.get_running_loop().call_later(self._ports.bounds.remembered_s, over)
