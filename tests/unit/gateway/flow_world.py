"""A patient whose stages answer by rule, so that a test can deliver the answers in any order, and more than once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from services.core.contracts.enums import Lane, OutcomeStatus, Stage
from services.core.contracts.events import (
    BlobRef,
    ManifestRef,
    Problem,
    StageOutcome,
    StageRequest,
    run_id_for,
)
from services.core.contracts.ids import PatientKey, RunId, StudyKey, digest_of
from services.gateway.domain import flow
from services.gateway.domain.records import PatientRecord, RequestRecord, StudyRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENT = PatientKey("p" * 32)
Answer = Callable[[StageRequest], OutcomeStatus]


def always_completed(_: StageRequest) -> OutcomeStatus:
    return OutcomeStatus.COMPLETED


def manifest(role: str, text: str) -> ManifestRef:
    blob = BlobRef(digest=digest_of(text.encode()), size=1, media_type="application/json")
    return ManifestRef(role=role, run_id=RunId(text), blob=blob)


def answered(request: StageRequest, status: OutcomeStatus) -> StageOutcome:
    run_id = run_id_for(request, "settings", [])
    good = status in (OutcomeStatus.COMPLETED, OutcomeStatus.DEGRADED)
    problem = Problem(stage=request.stage, status=status, code="BAD", message="it did not work")
    return StageOutcome(
        request_id=request.request_id,
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        status=status,
        run_id=run_id,
        emitted_at=NOW,
        manifest=manifest(request.stage, run_id) if good else None,
        problem=None if good else problem,
    )


@dataclass
class World:
    """Holds the patient and the requests that wait for an answer."""

    answer: Answer = always_completed
    patient: PatientRecord = field(default_factory=lambda: PatientRecord(patient=PATIENT))
    waiting: list[StageRequest] = field(default_factory=list)

    def open(self, key: str, acquired_at: str | None) -> None:
        study = StudyRecord(
            study=StudyKey(key),
            patient=PATIENT,
            lane=Lane.ROUTINE,
            version=1,
            intake=manifest("intake", f"{key}/1"),
            acquired_at=acquired_at,
        )
        self.patient = replace(self.patient, studies=(*self.patient.studies, study))
        self.advance()

    def new_version(self, key: str) -> None:
        def grown(study: StudyRecord) -> StudyRecord:
            version = study.version + 1
            return replace(study, version=version, intake=manifest("intake", f"{key}/{version}"))

        studies = tuple(grown(s) if s.study == key else s for s in self.patient.studies)
        self.patient = replace(self.patient, studies=studies)
        self.advance()

    def replay(self, key: str, stage: Stage | None) -> bool:
        again = flow.replay_of(self.study(key), stage, NOW)
        if again is None:
            return False
        self.make((again,))
        return True

    def deliver(self, request: StageRequest) -> bool:
        self.patient, counted = flow.with_outcome(self.patient, answered(request, self.answer(request)))
        if request in self.waiting:
            self.waiting.remove(request)
        self.advance()
        return counted

    def advance(self) -> None:
        self.make(flow.due(self.patient, NOW))

    def make(self, requests: tuple[StageRequest, ...]) -> None:
        known = {r.request.request_id for s in self.patient.studies for r in s.requests}
        assert not known & {r.request_id for r in requests}, "a request was made twice"
        studies = tuple(
            replace(
                s, requests=(*s.requests, *(RequestRecord(request=r) for r in requests if r.study.study == s.study))
            )
            for s in self.patient.studies
        )
        self.patient = replace(self.patient, studies=studies)
        self.waiting.extend(requests)

    def run_dry(self) -> None:
        while self.waiting:
            self.deliver(self.waiting[0])

    def study(self, key: str) -> StudyRecord:
        found = self.patient.study(StudyKey(key))
        assert found is not None
        return found

    def requests(self, key: str, stage: Stage) -> list[RequestRecord]:
        return list(self.study(key).current(stage))

    def current(self, key: str) -> StageRequest:
        done = [r for r in self.requests(key, Stage.REPORT) if r.manifest]
        return max(done, key=lambda r: r.request.revision).request

    def compared_by(self, key: str) -> StageRequest | None:
        """The comparison that the current report names."""
        named = self.current(key).input("compare")
        found = (r for r in self.requests(key, Stage.COMPARE) if r.manifest and named)
        return next((r.request for r in found if r.manifest and named and r.manifest.run_id == named.run_id), None)
