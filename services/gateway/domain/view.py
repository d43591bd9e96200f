"""A study as its users see it: state, stages with their times, current result. Derived from records, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.core.contracts.enums import Stage
from services.core.contracts.events import Problem
from services.gateway.domain.intake import StudyRow
from services.gateway.domain.records import RequestRecord, StudyRecord


class StudyState(StrEnum):
    """`receiving`: nothing is closed yet. `done`: the newest report is there. `failed`: it could not be made."""

    RECEIVING = "receiving"
    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class StageStatus(StrEnum):
    """`waiting`: not asked for yet. `skipped`: an earlier stage gave nothing to go on with. Else as it ended."""

    WAITING = "waiting"
    REQUESTED = "requested"
    SKIPPED = "skipped"
    COMPLETED = "completed"
    DEGRADED = "degraded"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """The newest request of a stage. Seconds from its request to its outcome: waiting in queues is part of them."""

    stage: Stage
    status: StageStatus
    replay: int = 0
    revision: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    problem: Problem | None = None

    @property
    def seconds(self) -> float | None:
        """From request to outcome, or None while there is none."""
        if self.started_at is None or self.finished_at is None:
            return None
        return round(max(0.0, (self.finished_at - self.started_at).total_seconds()), 3)


def state_of(row: StudyRow, record: StudyRecord | None) -> StudyState:
    """Where a study stands. It is running while any request of its current version has no outcome."""
    if record is None or row.version == 0:
        return StudyState.RECEIVING
    current = [r for r in record.requests if r.request.study.version == record.version]
    if all(r.pending for r in current):
        return StudyState.ACCEPTED
    if any(r.pending for r in current):
        return StudyState.RUNNING
    reports = record.current(Stage.REPORT)
    newest = max(reports, key=lambda r: r.request.revision, default=None)
    return StudyState.DONE if newest is not None and newest.manifest is not None else StudyState.FAILED


def stages_of(record: StudyRecord | None) -> list[StageView]:
    """All five stages of the current version, in order."""
    if record is None:
        return [StageView(stage=stage, status=StageStatus.WAITING) for stage in Stage]
    reported = bool(record.current(Stage.REPORT))
    return [_stage(stage, record.current(stage), reported=reported) for stage in Stage]


def _stage(stage: Stage, requests: Sequence[RequestRecord], *, reported: bool) -> StageView:
    if not requests:
        status = StageStatus.SKIPPED if reported else StageStatus.WAITING
        return StageView(stage=stage, status=status)
    newest = requests[-1]
    request = newest.request
    outcome = newest.outcome
    status = StageStatus.REQUESTED if outcome is None else StageStatus(outcome.status)
    return StageView(
        stage=stage,
        status=status,
        replay=request.replay,
        revision=request.revision,
        started_at=request.requested_at,
        finished_at=newest.settled_at,
        problem=newest.problem,
    )
