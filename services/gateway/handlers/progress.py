"""What an outcome, a replay or a new version sets in motion. State and next requests commit together (rule 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from services.core.contracts.enums import Lane, OutcomeStatus, Stage
from services.core.contracts.errors import Permanent
from services.core.contracts.events import Problem, StageOutcome, StageRequest
from services.core.contracts.ids import JsonValue, PatientKey, StudyKey
from services.core.contracts.manifest import Manifest
from services.core.runtime.clock import Clock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.stage import read_manifest
from services.core.storage.port import BlobStore
from services.core.telemetry.tracing import trace_headers
from services.gateway.domain import flow
from services.gateway.domain.history import HistoryEvent
from services.gateway.errors import Conflict, NotFound
from services.gateway.ports import ResultRow, StateStore, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPorts:
    """What the use cases below need. `changed` is called after a commit: it wakes the relay and the event streams."""

    state: StateStore
    blobs: BlobStore
    clock: Clock
    failpoints: Failpoints
    changed: Callable[[], None]


def advance(transaction: Transaction, patient: PatientKey, ports: FlowPorts) -> None:
    """Makes every request that is due for the patient. Part of a transaction that holds the patient's lock."""
    for request in flow.due(transaction.patient(patient), ports.clock.now()):
        _make(transaction, request, ports)


def take_outcome(outcome: StageOutcome, ports: FlowPorts) -> bool:
    """Records an outcome and makes what follows; False when the request had its final outcome before.

    Raises Permanent when it answers no request, Transient when its manifest or the state cannot be read now.
    """
    outcome, manifest = _with_readable_manifest(outcome, ports)
    now, patient = ports.clock.now(), outcome.study.patient
    ports.failpoints.hit("gateway.before_outcome_commit")
    with ports.state.write() as transaction:
        if transaction.patient_of(outcome.study.study) != patient:
            raise Permanent("UNKNOWN_REQUEST", "the outcome is of no study of this gateway")
        transaction.lock(patient, now)
        record = transaction.patient(patient)
        _, counted = flow.with_outcome(record, outcome)
        if counted:
            transaction.settle(outcome, now)
            _tell(transaction, outcome, ports)
            if manifest is not None:
                _keep_result(transaction, outcome, manifest, ports)
            advance(transaction, patient, ports)
    ports.failpoints.hit("gateway.after_outcome_commit")
    ports.changed()
    return counted


def replay(study: StudyKey, stage: Stage | None, ports: FlowPorts) -> StageRequest:
    """Asks for a stage once more, and with it for what follows. Raises NotFound, Conflict while it is not settled."""
    now = ports.clock.now()
    with ports.state.write() as transaction:
        patient = _patient_of(transaction, study)
        transaction.lock(patient, now)
        record = transaction.patient(patient).study(study)
        again = flow.replay_of(record, stage, now) if record else None
        if again is None:
            raise Conflict(
                "NOTHING_TO_REPLAY",
                "this stage has not run yet, or is running",
                "Wait for its outcome, then ask again.",
            )
        _make(transaction, again, ports)
    ports.changed()
    return again


def change_lane(study: StudyKey, lane: Lane, ports: FlowPorts) -> None:
    """Changes the lane of what is still to be asked for. Raises NotFound, Conflict for the theatre's lane."""
    if lane is Lane.THEATRE:
        raise Conflict("NO_SUCH_LANE", "a study of the ward travels as stat or routine")
    now = ports.clock.now()
    with ports.state.write() as transaction:
        patient = _patient_of(transaction, study)
        transaction.lock(patient, now)
        row = transaction.study(study)
        if row is not None and row.lane is not lane:
            transaction.set_lane(study, lane)
            transaction.add_history(study, row.version, HistoryEvent.LANE, now, lane=lane)
    ports.changed()


def _make(transaction: Transaction, request: StageRequest, ports: FlowPorts) -> None:
    transaction.add_request(request, trace_headers())
    detail: dict[str, JsonValue] = {
        "stage": request.stage,
        "request_id": request.request_id,
        "lane": request.lane,
        "replay": request.replay,
        "revision": request.revision,
    }
    if request.stage is Stage.COMPARE:
        detail["priors"] = len(request.priors())
    transaction.add_history(
        request.study.study, request.study.version, HistoryEvent.REQUESTED, ports.clock.now(), **detail
    )


def _tell(transaction: Transaction, outcome: StageOutcome, ports: FlowPorts) -> None:
    detail: dict[str, JsonValue] = {
        "stage": outcome.stage,
        "request_id": outcome.request_id,
        "status": outcome.status,
        "run_id": outcome.run_id,
    }
    if outcome.problem is not None:
        detail["code"] = outcome.problem.code
        detail["message"] = outcome.problem.message
    study = outcome.study
    transaction.add_history(study.study, study.version, HistoryEvent.FINISHED, ports.clock.now(), **detail)


def _keep_result(transaction: Transaction, outcome: StageOutcome, manifest: Manifest, ports: FlowPorts) -> None:
    study, now = outcome.study, ports.clock.now()
    record = transaction.patient(study.patient).study(study.study)
    asked = next((r for r in record.requests if r.request.request_id == outcome.request_id), None) if record else None
    if record is None or asked is None or asked.manifest is None:
        return
    revision = asked.request.revision
    transaction.add_result(
        ResultRow(
            study=study.study,
            version=study.version,
            revision=revision,
            manifest=asked.manifest,
            completeness=manifest.completeness,
            verdict=manifest.verdict,
            outputs=manifest.outputs,
            created_at=now,
        )
    )
    if study.version == record.version:
        detail: dict[str, JsonValue] = {
            "revision": revision,
            "completeness": manifest.completeness,
            "verdict": manifest.verdict,
        }
        transaction.add_history(study.study, study.version, HistoryEvent.RESULT, now, **detail)


def _with_readable_manifest(outcome: StageOutcome, ports: FlowPorts) -> tuple[StageOutcome, Manifest | None]:
    """The manifest of a report; one that is damaged turns the outcome into a failure, which a replay can heal."""
    if outcome.stage is not Stage.REPORT or outcome.manifest is None:
        return outcome, None
    try:
        return outcome, read_manifest(ports.blobs, outcome.manifest)
    except Permanent as error:
        problem = Problem(
            stage=outcome.stage,
            status=OutcomeStatus.FAILED,
            code=error.code,
            message=error.message,
            advice="Ask for a replay of the report.",
        )
        return replace(outcome, status=OutcomeStatus.FAILED, manifest=None, problem=problem), None


def _patient_of(transaction: Transaction, study: StudyKey) -> PatientKey:
    patient = transaction.patient_of(study)
    if patient is None:
        raise NotFound("UNKNOWN_STUDY", "there is no study with this id")
    return patient
