"""JSON documents of the HTTP API (pydantic: at this edge only), made from views."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from services.core.contracts.enums import Completeness, Lane, OutcomeStatus, Stage, Verdict
from services.core.contracts.events import Problem as StageProblem
from services.core.contracts.facts import Source
from services.gateway.domain.history import HistoryEvent, HistoryRow
from services.gateway.domain.view import StageStatus, StageView, StudyState, stages_of, state_of
from services.gateway.handlers.intake import Accepted
from services.gateway.ports import IntraoperativeRow, ResultRow, StudyView, VersionRow


class ProblemOfStage(BaseModel):
    """Why a stage gave no result."""

    stage: Stage
    status: OutcomeStatus
    code: str
    message: str
    advice: str


class StageDocument(BaseModel):
    """The newest request of a stage. `seconds` run from the request to its outcome, queues included."""

    stage: Stage
    status: StageStatus
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    replay: int
    revision: int
    problem: ProblemOfStage | None


class StudyDocument(BaseModel):
    """A study at its current version. `revision`, `completeness` and `verdict` are those of its current result."""

    id: str
    patient: str = Field(description="Pseudonym of the patient.")
    source: Source
    study_uid: str | None
    acquired_at: str | None
    version: int
    lane: Lane
    state: StudyState
    stages: list[StageDocument]
    revision: int | None
    completeness: Completeness | None
    verdict: Verdict | None
    created_at: datetime
    change: int = Field(description="Grows with every change; the id of the event that shows it.")
    links: dict[str, str]


class UploadDocument(BaseModel):
    """What became of the files of an upload."""

    new_version: bool
    added: int
    duplicates: int
    ignored: dict[str, int]


class AcceptedDocument(StudyDocument):
    """The study that an upload led to."""

    upload: UploadDocument


class VersionDocument(BaseModel):
    """A version of a study."""

    version: int
    instances: int
    created_at: datetime


class IntraoperativeDocument(BaseModel):
    """A mask of the operating room. It is no result of the study's version and never changes one."""

    run_id: str
    version: int = Field(description="The version that its session started with.")
    completeness: Completeness
    verdict: Verdict
    acquired_at: str | None
    recorded_at: datetime


class StudyDetail(StudyDocument):
    """A study with its versions and the masks of the operating room."""

    versions: list[VersionDocument]
    intraoperative: list[IntraoperativeDocument]


class StudyList(BaseModel):
    """Studies, newest first. `next`: where the list goes on, or null."""

    studies: list[StudyDocument]
    next: str | None


class HistoryEntry(BaseModel):
    """One thing that happened to a study."""

    seq: int
    at: datetime
    version: int
    event: HistoryEvent
    detail: dict[str, object]


class HistoryDocument(BaseModel):
    """The history of a study, oldest first."""

    study: str
    events: list[HistoryEntry]


class ResultItem(BaseModel):
    """One output of the current result. `digest` is that of the stored output, before any stamping."""

    name: str
    media_type: str
    size: int
    digest: str
    href: str


class ResultsDocument(BaseModel):
    """The current result of a study."""

    study: str
    version: int
    revision: int
    completeness: Completeness
    verdict: Verdict
    run_id: str
    created_at: datetime
    results: list[ResultItem]


def study_document(view: StudyView) -> StudyDocument:
    """The document of a study."""
    row, result = view.row, view.result
    base = f"/studies/{row.study}"
    return StudyDocument(
        id=row.study,
        patient=row.patient,
        source=row.source,
        study_uid=row.study_uid,
        acquired_at=row.acquired_at,
        version=row.version,
        lane=row.lane,
        state=state_of(row, view.record),
        stages=[_stage(stage) for stage in stages_of(view.record)],
        revision=result.revision if result else None,
        completeness=result.completeness if result else None,
        verdict=result.verdict if result else None,
        created_at=row.created_at,
        change=view.last_change,
        links={
            "self": base,
            "history": f"{base}/history",
            "events": f"{base}/events",
            "results": f"{base}/results",
            "page": f"{base}/page",
        },
    )


def accepted_document(view: StudyView, accepted: Accepted) -> AcceptedDocument:
    """The answer to an upload."""
    upload = UploadDocument(
        new_version=accepted.new_version,
        added=accepted.added,
        duplicates=accepted.duplicates,
        ignored=dict(accepted.ignored),
    )
    return AcceptedDocument(**study_document(view).model_dump(), upload=upload)


def study_detail(view: StudyView, versions: list[VersionRow], masks: list[IntraoperativeRow]) -> StudyDetail:
    """A study with its versions and the masks of the operating room."""
    told = [VersionDocument(version=v.version, instances=v.instances, created_at=v.created_at) for v in versions]
    found = [
        IntraoperativeDocument(
            run_id=row.manifest.run_id,
            version=row.study.version,
            completeness=row.completeness,
            verdict=row.verdict,
            acquired_at=row.acquired_at,
            recorded_at=row.created_at,
        )
        for row in masks
    ]
    return StudyDetail(**study_document(view).model_dump(), versions=told, intraoperative=found)


def history_document(study: str, rows: list[HistoryRow]) -> HistoryDocument:
    """The history of a study."""
    events = [
        HistoryEntry(seq=row.seq, at=row.at, version=row.version, event=row.event, detail=dict(row.detail))
        for row in rows
    ]
    return HistoryDocument(study=study, events=events)


def results_document(result: ResultRow) -> ResultsDocument:
    """The current result of a study."""
    base = f"/studies/{result.study}/results"
    items = [
        ResultItem(
            name=name, media_type=media_type_of(name, blob.media_type), size=blob.size, digest=blob.digest,
            href=f"{base}/{name}",
        )
        for name, blob in sorted(result.outputs.items())
    ]  # fmt: skip
    return ResultsDocument(
        study=result.study,
        version=result.version,
        revision=result.revision,
        completeness=result.completeness,
        verdict=result.verdict,
        run_id=result.manifest.run_id,
        created_at=result.created_at,
        results=items,
    )


_MEDIA_TYPES = {
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".nii.gz": "application/gzip",
    ".dcm": "application/dicom",
    ".png": "image/png",
    ".html": "text/html; charset=utf-8",
}


def media_type_of(name: str, stored: str) -> str:
    """What a client is told: plain, registered types, by the ending of the name."""
    return next((kind for ending, kind in _MEDIA_TYPES.items() if name.endswith(ending)), stored)


def _stage(view: StageView) -> StageDocument:
    return StageDocument(
        stage=view.stage,
        status=view.status,
        started_at=view.started_at,
        finished_at=view.finished_at,
        seconds=view.seconds,
        replay=view.replay,
        revision=view.revision,
        problem=_problem(view.problem) if view.problem else None,
    )


def _problem(problem: StageProblem) -> ProblemOfStage:
    return ProblemOfStage(
        stage=problem.stage,
        status=problem.status,
        code=problem.code,
        message=problem.message,
        advice=problem.advice,
    )
