"""Events to protobuf bytes and back: the one converter of the bus and gRPC edges.

Unknown enum numbers are refused with ValueError: a newer sender must not be half understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import TypeVar

from glioserve.study.v1 import events_pb2, study_pb2
from google.protobuf.message import DecodeError

from services.core.contracts.enums import BlobClass, Lane, OutcomeStatus, SegmentStep, Stage
from services.core.contracts.events import (
    BlobRef,
    ManifestRef,
    Problem,
    StageOutcome,
    StageRequest,
    StudyRef,
)
from services.core.contracts.ids import PatientKey, RequestId, RunId, StudyKey, parse_digest

_Message = TypeVar("_Message", events_pb2.StageRequest, events_pb2.StageOutcome)
_Number = TypeVar("_Number")
_Name = TypeVar("_Name")

_LANES = {
    Lane.THEATRE: study_pb2.LANE_THEATRE,
    Lane.STAT: study_pb2.LANE_STAT,
    Lane.ROUTINE: study_pb2.LANE_ROUTINE,
}
_STAGES = {
    Stage.PREPARE: study_pb2.STAGE_PREPARE,
    Stage.SEGMENT: study_pb2.STAGE_SEGMENT,
    Stage.SUBTYPE: study_pb2.STAGE_SUBTYPE,
    Stage.COMPARE: study_pb2.STAGE_COMPARE,
    Stage.REPORT: study_pb2.STAGE_REPORT,
}
_STATUSES = {
    OutcomeStatus.COMPLETED: study_pb2.OUTCOME_STATUS_COMPLETED,
    OutcomeStatus.DEGRADED: study_pb2.OUTCOME_STATUS_DEGRADED,
    OutcomeStatus.REFUSED: study_pb2.OUTCOME_STATUS_REFUSED,
    OutcomeStatus.FAILED: study_pb2.OUTCOME_STATUS_FAILED,
}
_STEPS = {
    SegmentStep.COARSE: study_pb2.SEGMENT_STEP_COARSE,
    SegmentStep.FINE: study_pb2.SEGMENT_STEP_FINE,
    SegmentStep.BOTH: study_pb2.SEGMENT_STEP_BOTH,
}
_LANE_OF = {number: lane for lane, number in _LANES.items()}
_STAGE_OF = {number: stage for stage, number in _STAGES.items()}
_STATUS_OF = {number: status for status, number in _STATUSES.items()}
_STEP_OF = {number: step for step, number in _STEPS.items()}


def request_to_proto(request: StageRequest) -> events_pb2.StageRequest:
    """The message that travels on `glioserve.study.<stage>.<lane>.v1`."""
    message = events_pb2.StageRequest(
        request_id=request.request_id,
        stage=_STAGES[request.stage],
        study=study_ref_to_proto(request.study),
        lane=_LANES[request.lane],
        replay=request.replay,
        revision=request.revision,
        inputs=[manifest_ref_to_proto(ref) for ref in request.inputs],
        step=_STEPS[request.step] if request.step else study_pb2.SEGMENT_STEP_UNSPECIFIED,
        problems=[_problem_to(p) for p in request.problems],
    )
    message.requested_at.FromDatetime(request.requested_at)
    return message


def request_from_proto(message: events_pb2.StageRequest) -> StageRequest:
    """Raises ValueError when the message names something this version does not know."""
    return StageRequest(
        request_id=RequestId(message.request_id),
        stage=_known(_STAGE_OF, message.stage, "stage"),
        study=study_ref_from_proto(message.study),
        lane=_known(_LANE_OF, message.lane, "lane"),
        replay=message.replay,
        revision=message.revision,
        inputs=tuple(manifest_ref_from_proto(ref) for ref in message.inputs),
        step=_known(_STEP_OF, message.step, "step") if message.step else None,
        problems=tuple(_problem_from(p) for p in message.problems),
        requested_at=message.requested_at.ToDatetime(tzinfo=UTC),
    )


def outcome_to_proto(outcome: StageOutcome) -> events_pb2.StageOutcome:
    """The message that travels on `glioserve.study.outcome.v1`."""
    message = events_pb2.StageOutcome(
        request_id=outcome.request_id,
        stage=_STAGES[outcome.stage],
        study=study_ref_to_proto(outcome.study),
        lane=_LANES[outcome.lane],
        status=_STATUSES[outcome.status],
        run_id=outcome.run_id,
        manifest=manifest_ref_to_proto(outcome.manifest) if outcome.manifest else None,
        problem=_problem_to(outcome.problem) if outcome.problem else None,
    )
    message.emitted_at.FromDatetime(outcome.emitted_at)
    return message


def outcome_from_proto(message: events_pb2.StageOutcome) -> StageOutcome:
    """Raises ValueError when the message names something this version does not know."""
    return StageOutcome(
        request_id=RequestId(message.request_id),
        stage=_known(_STAGE_OF, message.stage, "stage"),
        study=study_ref_from_proto(message.study),
        lane=_known(_LANE_OF, message.lane, "lane"),
        status=_known(_STATUS_OF, message.status, "status"),
        run_id=RunId(message.run_id),
        manifest=manifest_ref_from_proto(message.manifest) if message.HasField("manifest") else None,
        problem=_problem_from(message.problem) if message.HasField("problem") else None,
        emitted_at=message.emitted_at.ToDatetime(tzinfo=UTC),
    )


def encode_request(request: StageRequest) -> bytes:
    """Wire bytes of a request."""
    return request_to_proto(request).SerializeToString(deterministic=True)


def decode_request(data: bytes) -> StageRequest:
    """Raises ValueError on bytes that are no request."""
    return request_from_proto(_parsed(events_pb2.StageRequest(), data))


def encode_outcome(outcome: StageOutcome) -> bytes:
    """Wire bytes of an outcome."""
    return outcome_to_proto(outcome).SerializeToString(deterministic=True)


def decode_outcome(data: bytes) -> StageOutcome:
    """Raises ValueError on bytes that are no outcome."""
    return outcome_from_proto(_parsed(events_pb2.StageOutcome(), data))


def _parsed(message: _Message, data: bytes) -> _Message:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"not a {message.DESCRIPTOR.full_name}") from error
    return message


def _known(table: Mapping[_Number, _Name], number: _Number, what: str) -> _Name:
    try:
        return table[number]
    except KeyError:
        raise ValueError(f"unknown {what} number {number}") from None


def study_ref_to_proto(study: StudyRef) -> study_pb2.StudyRef:
    """A study reference as it travels."""
    return study_pb2.StudyRef(patient=study.patient, study=study.study, version=study.version)


def study_ref_from_proto(message: study_pb2.StudyRef) -> StudyRef:
    """The inverse."""
    return StudyRef(patient=PatientKey(message.patient), study=StudyKey(message.study), version=message.version)


def manifest_ref_to_proto(ref: ManifestRef) -> study_pb2.ManifestRef:
    """A manifest reference as it travels."""
    blob = study_pb2.BlobRef(
        digest=ref.blob.digest,
        size_bytes=ref.blob.size,
        media_type=ref.blob.media_type,
        blob_class=ref.blob.blob_class,
    )
    return study_pb2.ManifestRef(role=ref.role, run_id=ref.run_id, blob=blob)


def manifest_ref_from_proto(message: study_pb2.ManifestRef) -> ManifestRef:
    """The inverse. Raises ValueError on a malformed digest or class."""
    blob = BlobRef(
        digest=parse_digest(message.blob.digest),
        size=message.blob.size_bytes,
        media_type=message.blob.media_type,
        blob_class=BlobClass(message.blob.blob_class),
    )
    return ManifestRef(role=message.role, run_id=RunId(message.run_id), blob=blob)


def _problem_to(problem: Problem) -> study_pb2.Problem:
    return study_pb2.Problem(
        stage=_STAGES[problem.stage],
        status=_STATUSES[problem.status],
        code=problem.code,
        message=problem.message,
        advice=problem.advice,
    )


def _problem_from(message: study_pb2.Problem) -> Problem:
    return Problem(
        stage=_known(_STAGE_OF, message.stage, "stage"),
        status=_known(_STATUS_OF, message.status, "status"),
        code=message.code,
        message=message.message,
        advice=message.advice,
    )
