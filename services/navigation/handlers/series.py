"""One series from its last chunk to its last word: prepare, coarse mask, final mask, and what happens when one fails.

The last word comes before the deadline: in its last fifth at the latest, at once where nothing can help any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from services.core.contracts.enums import Lane, OutcomeStatus, SegmentStep, Stage
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.events import ManifestRef, StageOutcome, StageRequest, StudyRef, request_id_for
from services.core.contracts.ids import BlobDigest, PatientKey
from services.core.contracts.manifest import Manifest
from services.core.runtime.clock import Clock
from services.navigation.domain.answers import (
    Answer,
    Degraded,
    Fault,
    Limit,
    MaskAnswer,
    MaskKind,
    Progress,
    Reason,
    SeriesRefused,
    Step,
    said,
)
from services.navigation.domain.orders import SeriesOrder
from services.navigation.ports import Material, Received, Stages

LAST_WORD = 0.85
"""Share of the deadline at which a series without a final mask gets its last word."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
_TROUBLE = {Stage.PREPARE: Reason.PREPARATION_FAILED, Stage.SEGMENT: Reason.INFERENCE_UNAVAILABLE}
_FAILURE = {Stage.PREPARE: Reason.PREPARATION_FAILED, Stage.SEGMENT: Reason.INFERENCE_FAILED}
log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Job:
    """A series that came in whole at `arrived` (monotonic seconds). `doing`: the stage that was asked last; `trouble`:
    why it did not answer yet.
    """

    order: SeriesOrder
    digest: BlobDigest
    files: Sequence[Path]
    arrived: float
    doing: Stage = Stage.PREPARE
    trouble: Limit | None = None

    @property
    def due(self) -> float:
        """The deadline."""
        return self.arrived + self.order.deadline_s

    @property
    def last_word_at(self) -> float:
        """When an answer must be on its way."""
        return self.arrived + LAST_WORD * self.order.deadline_s


@dataclass(slots=True, kw_only=True)
class Anatomy:
    """What a session knows of its patient: who it is once a file has said so, the prepared manifest so far, the last
    mask.
    """

    session: str
    study: StudyRef
    patient: PatientKey | None = None
    prepared: ManifestRef | None = None
    last_mask: MaskAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Where answers of a series go. `shown`: a mask with the runs that it rests on, for the poses."""

    say: Callable[[Answer], None]
    shown: Callable[[MaskAnswer, Manifest, ManifestRef], None]
    keep: Callable[[Received, ManifestRef], None]


class SeriesWork:
    """Answers series with the theatre's stages. One instance serves every session."""

    def __init__(self, stages: Stages, material: Material, clock: Clock) -> None:
        self._stages = stages
        self._material = material
        self._clock = clock

    async def answer(
        self,
        job: Job,
        anatomy: Anatomy,
        wanted: frozenset[MaskKind],
        voice: Voice,
        turn: AbstractAsyncContextManager[None],
    ) -> None:
        """Says the last word of a series, whatever happens, unless it is cancelled."""
        loop = asyncio.get_running_loop()
        best: list[MaskAnswer] = []

        def said_mask(answer: MaskAnswer, prepared: Manifest, coarse: ManifestRef) -> None:
            timed = replace(answer, arrived=job.arrived, answered_by=job.due)
            best.append(timed)
            anatomy.last_mask = timed
            voice.say(timed)
            voice.shown(timed, prepared, coarse)

        try:
            within = job.last_word_at - self._clock.monotonic()
            async with asyncio.timeout_at(loop.time() + within), turn:
                with self._material.within(anatomy.session):
                    await self._computed(job, anatomy, wanted, said_mask, voice)
        except TimeoutError:
            limit = job.trouble or _out_of_time(job)
        except Fault as fault:
            voice.say(SeriesRefused(series=job.order.series, limit=fault.limit()))
            return
        except Refused as error:
            refusal = Limit(
                reason=said(error.code, Reason.SERIES_UNREADABLE), message=error.message, advice=error.advice
            )
            voice.say(SeriesRefused(series=job.order.series, limit=refusal))
            return
        except Permanent as error:
            limit = _beyond_help(job, error)
        else:
            return
        mask = best[-1] if best else anatomy.last_mask
        voice.say(
            Degraded(series=job.order.series, series_digest=job.digest, limit=limit, best=mask, answered_by=job.due)
        )

    async def _computed(
        self,
        job: Job,
        anatomy: Anatomy,
        wanted: frozenset[MaskKind],
        said_mask: Callable[[MaskAnswer, Manifest, ManifestRef], None],
        voice: Voice,
    ) -> None:
        name = job.order.series
        voice.say(Progress(series=name, step=Step.PREPARING))
        received = await asyncio.to_thread(self._material.received, job.order, job.files, job.digest, anatomy.study)
        _same_patient(anatomy, received)
        prepared = await self._prepared(job, anatomy, received)
        anatomy.prepared = prepared
        manifest = await asyncio.to_thread(self._material.manifest, prepared)
        coarse = await self._segment(job, anatomy, SegmentStep.COARSE, (prepared,), voice)
        if MaskKind.COARSE in wanted:
            said_mask(await self._mask(MaskKind.COARSE, received, manifest, coarse), manifest, coarse)
        if MaskKind.FINAL not in wanted:
            return
        fine = await self._segment(job, anatomy, SegmentStep.FINE, (prepared, coarse), voice)
        said_mask(await self._mask(MaskKind.FINAL, received, manifest, fine), manifest, coarse)
        voice.keep(received, fine)

    async def _prepared(self, job: Job, anatomy: Anatomy, received: Received) -> ManifestRef:
        so_far = () if anatomy.prepared is None else (anatomy.prepared,)
        request = _request(anatomy.study, Stage.PREPARE, (received.intake, *so_far), None, self._clock)
        return await self._patiently(job, anatomy, request)

    async def _segment(
        self, job: Job, anatomy: Anatomy, step: SegmentStep, inputs: tuple[ManifestRef, ...], voice: Voice
    ) -> ManifestRef:
        job.doing = Stage.SEGMENT
        voice.say(Progress(series=job.order.series, step=Step.COARSE if step is SegmentStep.COARSE else Step.FINE))
        request = _request(anatomy.study, Stage.SEGMENT, inputs, step, self._clock)
        return await self._patiently(job, anatomy, request)

    async def _mask(self, kind: MaskKind, received: Received, prepared: Manifest, result: ManifestRef) -> MaskAnswer:
        return await asyncio.to_thread(self._material.answer, kind, received, prepared, result)

    async def _patiently(self, job: Job, anatomy: Anatomy, request: StageRequest) -> ManifestRef:
        """Runs a stage, again until it works; the time-out around it ends the trying."""
        pause = PAUSE_S
        while True:
            try:
                within = job.last_word_at - self._clock.monotonic()
                outcome = await self._stages.run(request, anatomy.session, within)
            except Transient as error:
                reason = said(error.code, _TROUBLE[job.doing])
                job.trouble = Limit(reason=reason, message=error.message, advice=error.advice)
                log.warning("theatre.again", extra={"code": error.code, "reason": job.digest})
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            job.trouble = None
            return _result(outcome, request.stage)


def _same_patient(anatomy: Anatomy, received: Received) -> None:
    if received.patient is None:
        return
    if anatomy.patient not in (None, received.patient):
        raise Fault(
            Reason.OTHER_PATIENT, "the series is another patient's", "Open a session of its own for that patient."
        )
    anatomy.patient = received.patient


def _result(outcome: StageOutcome, role: str) -> ManifestRef:
    problem = outcome.problem
    if outcome.status is OutcomeStatus.REFUSED and problem is not None:
        raise Refused(problem.code, problem.message, problem.advice)
    if outcome.manifest is None:
        raise Permanent("NO_RESULT", "a stage ended without a result")
    return replace(outcome.manifest, role=role)


def _request(
    study: StudyRef, stage: Stage, inputs: tuple[ManifestRef, ...], step: SegmentStep | None, clock: Clock
) -> StageRequest:
    canonical = [stage, study.study, step, [[ref.role, ref.blob.digest] for ref in inputs]]
    return StageRequest(
        request_id=request_id_for(canonical),
        stage=stage,
        study=study,
        lane=Lane.THEATRE,
        inputs=inputs,
        requested_at=clock.now(),
        step=step,
    )


def _out_of_time(job: Job) -> Limit:
    return Limit(
        reason=Reason.DEADLINE_NEAR,
        message=f"the deadline of {job.order.deadline_s:g} s is near and there is no final mask",
        advice="Use the mask that came last, or send the series again with a longer deadline.",
    )


def _beyond_help(job: Job, error: GlioServeError) -> Limit:
    reason = said(error.code, _FAILURE[job.doing])
    return Limit(reason=reason, message=error.message, advice=error.advice or "Send another series.")
