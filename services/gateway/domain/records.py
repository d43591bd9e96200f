"""What the state machine sees: a patient with studies, a study with requests, a request with its outcome.

Snapshots, loaded whole per patient: a patient has tens of requests, so the rules may look at all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.core.contracts.enums import Lane, OutcomeStatus, Stage
from services.core.contracts.events import ManifestRef, Problem, StageOutcome, StageRequest
from services.core.contracts.ids import PatientKey, StudyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A request and, once it has one, its final outcome and when that came (for timings only)."""

    request: StageRequest
    outcome: StageOutcome | None = None
    settled_at: datetime | None = None

    @property
    def pending(self) -> bool:
        """True while no outcome has come."""
        return self.outcome is None

    @property
    def manifest(self) -> ManifestRef | None:
        """The manifest of its run, under the role that its stage plays in later requests."""
        if self.outcome is None or self.outcome.manifest is None:
            return None
        found = self.outcome.manifest
        return ManifestRef(role=self.request.stage, run_id=found.run_id, blob=found.blob)

    @property
    def problem(self) -> Problem | None:
        """Why there is no manifest, once that is final."""
        if self.outcome is None or self.outcome.manifest is not None:
            return None
        stated = self.outcome.problem
        return stated or Problem(
            stage=self.request.stage,
            status=OutcomeStatus.FAILED,
            code="NO_RESULT",
            message="the stage answered without a result and without a reason",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study at its current version. `requests` holds those of every version in the order in which they
    were made; times of acquisition are ISO 8601.
    """

    study: StudyKey
    patient: PatientKey
    lane: Lane
    version: int
    intake: ManifestRef
    acquired_at: str | None = None
    requests: tuple[RequestRecord, ...] = ()

    def current(self, stage: Stage) -> tuple[RequestRecord, ...]:
        """Requests of one stage for the current version."""
        return tuple(r for r in self.requests if r.request.stage is stage and r.request.study.version == self.version)

    @property
    def order(self) -> tuple[str, str] | None:
        """Place among the patient's studies by time of acquisition, then key; None when the time is not known."""
        return (self.acquired_at, self.study) if self.acquired_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientRecord:
    """All studies of one patient that have a version."""

    patient: PatientKey
    studies: tuple[StudyRecord, ...] = ()

    def study(self, key: StudyKey) -> StudyRecord | None:
        """The study with this key, or None."""
        return next((s for s in self.studies if s.study == key), None)
