"""The state machine of a study: which request follows from what is known (architecture rules 5 and 6).

It is written as a question without memory: given every request and outcome of a patient, which requests are due and
missing? The answer does not depend on the order in which outcomes came, so a late, doubled or replayed one is no
special case. Steps: prepare, segment, subtype, compare, report, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from services.core.contracts.enums import SegmentStep, Stage
from services.core.contracts.errors import Permanent
from services.core.contracts.events import (
    ManifestRef,
    Problem,
    StageOutcome,
    StageRequest,
    StudyRef,
    canonical_request,
    request_id_for,
)
from services.core.contracts.ids import RequestId
from services.gateway.domain.priors import priors_for
from services.gateway.domain.records import PatientRecord, RequestRecord, StudyRecord
from services.gateway.domain.standing import same_inputs, standing


def due(patient: PatientRecord, now: datetime) -> tuple[StageRequest, ...]:
    """Requests that follow from what is known and have not been made yet: at most one a study."""
    found = (_due_of(study, patient, now) for study in patient.studies)
    return tuple(request for request in found if request is not None)


def with_outcome(patient: PatientRecord, outcome: StageOutcome) -> tuple[PatientRecord, bool]:
    """The patient after an outcome, and whether it counted: the first final outcome of a request wins.

    Raises Permanent when the outcome answers no request of this patient.
    """
    asked = _find(patient, outcome.request_id)
    if asked is None or asked.request.stage is not outcome.stage or asked.request.study != outcome.study:
        raise Permanent("UNKNOWN_REQUEST", "the outcome answers no request of this gateway")
    if not asked.pending:
        return patient, False
    settled = replace(asked, outcome=outcome)
    return _changed(patient, lambda study: tuple(settled if r is asked else r for r in study.requests)), True


def replay_of(study: StudyRecord, stage: Stage | None, now: datetime) -> StageRequest | None:
    """The newest request of a stage once more, replay number raised by one; None while it is not settled.

    Without a stage: the first that gave no result, else all from the beginning. A repeated report is a new revision.
    """
    chosen = stage or next((s for s in Stage if _failed(study, s)), Stage.PREPARE)
    asked = study.current(chosen)
    if not asked or asked[-1].pending:
        return None
    newest = asked[-1].request
    replay = 1 + max(r.request.replay for r in asked if same_inputs(r.request.inputs, newest.inputs))
    again = replace(newest, replay=replay, lane=study.lane, requested_at=now)
    if chosen is Stage.REPORT:
        inputs = (*_content(newest), *_predecessor(study))
        again = replace(again, revision=_last_revision(study) + 1, inputs=inputs)
    return replace(again, request_id=request_id_for(canonical_request(again)))


def _due_of(study: StudyRecord, patient: PatientRecord, now: datetime) -> StageRequest | None:
    made: list[ManifestRef] = [study.intake]
    for stage in (Stage.PREPARE, Stage.SEGMENT):
        inputs = (made[-1],)
        stands = standing(study.current(stage), inputs)
        if not stands.asked:
            return _ask(study, stage, inputs, now)
        if stands.problem is not None:
            return _report_due(study, (*reversed(made[1:]), study.intake), (stands.problem,), now)
        if stands.manifest is None:
            return None
        made.append(stands.manifest)
    _, prepare, segment = made
    return _second_half(study, patient, (segment, prepare), now)


def _second_half(
    study: StudyRecord, patient: PatientRecord, made: tuple[ManifestRef, ManifestRef], now: datetime
) -> StageRequest | None:
    subtype = standing(study.current(Stage.SUBTYPE), made)
    if not subtype.asked:
        return _ask(study, Stage.SUBTYPE, made, now)
    if not subtype.settled:
        return None
    inputs = (*made, *priors_for(study, patient))
    compare = standing(study.current(Stage.COMPARE), inputs)
    if not compare.asked:
        return _ask(study, Stage.COMPARE, inputs, now, revision=_last_revision(study) + 1)
    if not compare.settled:
        return None
    manifests = (*made, *(s.manifest for s in (subtype, compare) if s.manifest), study.intake)
    problems = tuple(s.problem for s in (subtype, compare) if s.problem)
    return _report_due(study, manifests, problems, now)


def _report_due(
    study: StudyRecord, manifests: tuple[ManifestRef, ...], problems: tuple[Problem, ...], now: datetime
) -> StageRequest | None:
    """A report of what stands now, unless the last one says it already or one is being written."""
    reports = study.current(Stage.REPORT)
    if any(r.pending for r in reports):
        return None
    if reports:
        last = max(reports, key=lambda r: r.request.revision).request
        if same_inputs(_content(last), manifests) and last.problems == problems:
            return None
    compared = max((r.request.revision for r in study.current(Stage.COMPARE)), default=0)
    written = max((r.request.revision for r in reports), default=0)
    revision = compared if compared > written else written + 1
    return _ask(study, Stage.REPORT, (*manifests, *_predecessor(study)), now, revision=revision, problems=problems)


def _ask(
    study: StudyRecord,
    stage: Stage,
    inputs: tuple[ManifestRef, ...],
    now: datetime,
    *,
    revision: int = 0,
    problems: tuple[Problem, ...] = (),
) -> StageRequest:
    request = StageRequest(
        request_id=RequestId(""),
        stage=stage,
        study=StudyRef(patient=study.patient, study=study.study, version=study.version),
        lane=study.lane,
        inputs=inputs,
        requested_at=now,
        revision=revision,
        step=SegmentStep.BOTH if stage is Stage.SEGMENT else None,
        problems=problems,
    )
    return replace(request, request_id=request_id_for(canonical_request(request)))


def _predecessor(study: StudyRecord) -> tuple[ManifestRef, ...]:
    done = [r for r in study.current(Stage.REPORT) if r.manifest]
    if not done:
        return ()
    newest = max(done, key=lambda r: r.request.revision).manifest
    return (replace(newest, role="predecessor"),) if newest else ()


def _content(report: StageRequest) -> tuple[ManifestRef, ...]:
    return tuple(ref for ref in report.inputs if ref.role != "predecessor")


def _last_revision(study: StudyRecord) -> int:
    return max((r.request.revision for r in study.requests if r.request.study.version == study.version), default=0)


def _failed(study: StudyRecord, stage: Stage) -> bool:
    asked = study.current(stage)
    return bool(asked) and asked[-1].problem is not None


def _changed(patient: PatientRecord, requests_of: Callable[[StudyRecord], tuple[RequestRecord, ...]]) -> PatientRecord:
    return replace(patient, studies=tuple(replace(s, requests=requests_of(s)) for s in patient.studies))


def _find(patient: PatientRecord, request_id: RequestId) -> RequestRecord | None:
    every = (r for study in patient.studies for r in study.requests)
    return next((r for r in every if r.request.request_id == request_id), None)
