"""Messages of the navigation's proto to orders, and answers to messages."""

from __future__ import annotations

import grpc
from glioserve.navigation.v1 import answers_pb2, navigation_service_pb2, series_pb2
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from services.core.contracts.enums import Completeness, Modality
from services.navigation.domain.answer_log import Numbered
from services.navigation.domain.answers import (
    Accepted,
    Degraded,
    Fault,
    Limit,
    MaskAnswer,
    MaskKind,
    Progress,
    Reason,
    SeriesCancelled,
    SeriesRefused,
    SessionEnded,
)
from services.navigation.domain.orders import Format, SeriesOrder, Start, checked_deadline
from services.navigation.handlers.registry import Elsewhere

NOTICE = "research use; synthetic training data; not for diagnosis"
DOMAIN = "navigation.glioserve"
_FORMATS = {
    series_pb2.SERIES_FORMAT_NIFTI: Format.NIFTI,
    series_pb2.SERIES_FORMAT_DICOM: Format.DICOM,
}
_KINDS = {
    answers_pb2.MASK_KIND_COARSE: MaskKind.COARSE,
    answers_pb2.MASK_KIND_FINAL: MaskKind.FINAL,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_COMPLETENESS = {
    Completeness.COMPLETE: answers_pb2.COMPLETENESS_COMPLETE,
    Completeness.DEGRADED: answers_pb2.COMPLETENESS_DEGRADED,
    Completeness.INSUFFICIENT: answers_pb2.COMPLETENESS_INSUFFICIENT,
}
_STATUS_OF = {
    Reason.SESSION_ELSEWHERE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SESSION_LOST: grpc.StatusCode.NOT_FOUND,
    Reason.SESSION_TAKEN_UP_ELSEWHERE: grpc.StatusCode.ABORTED,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.TOO_MANY_SESSIONS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.ROLE_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.STUDY_UNKNOWN: grpc.StatusCode.NOT_FOUND,
}
Response = navigation_service_pb2.SessionResponse


def start_of(message: navigation_service_pb2.SessionStart) -> Start:
    """Raises Fault DEADLINE_ABSURD."""
    deadline = _seconds(message.deadline) if message.HasField("deadline") else None
    if deadline is not None:
        checked_deadline(deadline, None)
    wanted = frozenset(_KINDS[kind] for kind in message.wanted if kind in _KINDS) or frozenset(MaskKind)
    return Start(study=message.study, deadline_s=deadline, wanted=wanted)


def order_of(message: series_pb2.SeriesHeader, start: Start) -> SeriesOrder:
    """Raises Fault: format, modality or deadline."""
    if message.format not in _FORMATS:
        raise Fault(Reason.FORMAT_UNKNOWN, "the header names no format", "NIFTI or DICOM.")
    if message.modality and message.modality not in list(Modality):
        raise Fault(
            Reason.MODALITY_UNKNOWN, f"{message.modality[:16]!r} is no sequence", f"One of {', '.join(Modality)}."
        )
    deadline = _seconds(message.deadline) if message.HasField("deadline") else None
    return SeriesOrder(
        series=message.series,
        format=_FORMATS[message.format],
        modality=Modality(message.modality) if message.modality else None,
        file_sizes=tuple(message.file_sizes),
        deadline_s=checked_deadline(deadline, start.deadline_s),
        anatomy_changed=message.anatomy_changed,
    )


def status_of(fault: Fault) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Code, text and trailing metadata (google.rpc.Status with ErrorInfo) of a refusal of the whole stream."""
    code = _STATUS_OF.get(fault.reason, grpc.StatusCode.INVALID_ARGUMENT)
    info = error_details_pb2.ErrorInfo(reason=str(fault.reason), domain=DOMAIN)
    if isinstance(fault, Elsewhere):
        info.metadata["address"] = fault.address
    details = any_pb2.Any()
    details.Pack(info)
    number = code.value[0]
    status = status_pb2.Status(code=number, message=fault.message, details=[details])
    return code, fault.message, (("grpc-status-details-bin", status.SerializeToString()),)


def response_of(numbered: Numbered, now: float) -> Response:
    """The message of an answer. `now`: monotonic seconds."""
    answer = numbered.answer
    response = Response(sequence=numbered.sequence)
    if isinstance(answer, Accepted):
        response.accepted.CopyFrom(_accepted(answer))
    elif isinstance(answer, Progress):
        response.progress.CopyFrom(answers_pb2.Progress(series=answer.series, step=answer.step))
    elif isinstance(answer, MaskAnswer):
        response.mask.CopyFrom(_mask_answer(answer, now))
    elif isinstance(answer, Degraded):
        response.degraded.CopyFrom(_degraded(answer, now))
    elif isinstance(answer, SeriesRefused):
        response.refused.CopyFrom(answers_pb2.SeriesRefused(series=answer.series, limit=_limit(answer.limit)))
    elif isinstance(answer, SeriesCancelled):
        response.cancelled.CopyFrom(answers_pb2.SeriesCancelled(series=answer.series))
    elif isinstance(answer, SessionEnded):
        response.ended.CopyFrom(answers_pb2.SessionEnded(limit=_limit(answer.limit)))
    return response


def _accepted(answer: Accepted) -> answers_pb2.Accepted:
    return answers_pb2.Accepted(
        resume_token=answer.token,
        durable=False,
        modalities=answer.modalities,
        limit=None if answer.limit is None else _limit(answer.limit),
        upload=answer.upload,
        next_chunk=answer.next_chunk,
        poses_address=answer.poses_address,
    )


def _mask_answer(answer: MaskAnswer, now: float) -> answers_pb2.MaskAnswer:
    mask = answer.mask
    grid = answers_pb2.Grid(shape=mask.shape, affine=mask.affine.ravel().tolist())
    return answers_pb2.MaskAnswer(
        series=answer.series,
        series_digest=answer.series_digest,
        kind=_KIND_NUMBERS[answer.kind],
        completeness=_COMPLETENESS[answer.completeness],
        needs_review=answer.needs_review,
        limits=[_limit(limit) for limit in answer.limits],
        mask=answers_pb2.Mask(
            grid=grid,
            label_schema=mask.label_schema,
            labels_zlib=mask.labels_zlib,
            vacuity_zlib=mask.vacuity_zlib,
            volumes_ml=mask.volumes_ml,
            mean_vacuity=mask.mean_vacuity,
        ),
        models=[answers_pb2.Model(name=m.name, version=int(m.version), digest=m.digest) for m in answer.models],
        time_left=_duration(answer.answered_by - now),
        run_id=answer.run_id,
        used=answer.used,
        unavailable=answer.unavailable,
        acquired_at=answer.acquired_at or "",
        notice=NOTICE,
    )


def _degraded(answer: Degraded, now: float) -> answers_pb2.Degraded:
    return answers_pb2.Degraded(
        series=answer.series,
        series_digest=answer.series_digest,
        limit=_limit(answer.limit),
        best=None if answer.best is None else _mask_answer(answer.best, now),
        time_left=_duration(answer.answered_by - now),
    )


def _limit(limit: Limit) -> answers_pb2.Limit:
    reason = answers_pb2.Reason.Value(f"REASON_{limit.reason}")
    return answers_pb2.Limit(reason=reason, message=limit.message, advice=limit.advice)


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.ToNanoseconds() / 1e9


def _duration(seconds: float) -> duration_pb2.Duration:
    """Never negative: an answer that is sent again after a break has no time left."""
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(max(seconds, 0.0) * 1e9))
    return duration
