"""The two doors of a stage: they convert, delegate to `stage.run`, and answer. One table maps errors to gRPC."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

import grpc
from glioserve.stage.v1 import stage_service_pb2, stage_service_pb2_grpc

from services.core.bus.port import Producer, Record
from services.core.bus.topics import HEADER_REQUEST_ID, HEADER_SCHEMA, OUTCOME_TOPIC
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.events import StageOutcome, StageRequest
from services.core.contracts.wire import decode_request, encode_outcome, outcome_to_proto, request_from_proto
from services.core.runtime.stage import RunPorts, StageHandler, failed_outcome, run
from services.core.runtime.steps import Checkpoint, StopCheckpoint
from services.core.security.roles import Role, RoleNotAllowed, require_role
from services.core.telemetry.tracing import continued, trace_headers

log = logging.getLogger(__name__)
SESSION_METADATA = "glioserve-session"
"""Call metadata: the theatre's session, whose blobs the run reads and writes."""
OUTCOME_SCHEMA = "glioserve.study.v1.StageOutcome"
_STATUS_OF: dict[type[GlioServeError], grpc.StatusCode] = {
    RoleNotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    Transient: grpc.StatusCode.UNAVAILABLE,
    Permanent: grpc.StatusCode.FAILED_PRECONDITION,
    Refused: grpc.StatusCode.INVALID_ARGUMENT,
}


class BusDoor:
    """Requests from the bus. The consumer loop commits after `work` or `dead` has returned: the outcome comes first."""

    def __init__(self, handler: StageHandler, ports: RunPorts, producer: Producer, checkpoint: Checkpoint) -> None:
        self._handler = handler
        self._ports = ports
        self._producer = producer
        self._checkpoint = checkpoint

    def work(self, record: Record) -> None:
        """Runs one request and produces its outcome. Raises as `stage.run`; Permanent on bytes that are no request."""
        request = _decoded(record)
        with continued(f"{request.stage} process", record.headers):
            self._emit(run(self._handler, request, self._ports, self._checkpoint))

    def dead(self, record: Record, error: GlioServeError) -> None:
        """Tells the gateway that a request failed for good. Bytes that name no request are for operators only."""
        try:
            request = _decoded(record)
        except Permanent:
            return
        with continued(f"{request.stage} dead", record.headers):
            self._emit(failed_outcome(request, error, self._ports))

    def _emit(self, outcome: StageOutcome) -> None:
        self._ports.failpoints.hit("stage.before_outcome")
        headers = {HEADER_REQUEST_ID: outcome.request_id, HEADER_SCHEMA: OUTCOME_SCHEMA, **trace_headers()}
        self._producer.send(OUTCOME_TOPIC, outcome.study.patient, encode_outcome(outcome), headers)
        self._ports.failpoints.hit("stage.after_outcome")
        self._ports.metrics.outcomes.labels(outcome.stage, outcome.lane, outcome.status).inc()


class StageServicer(stage_service_pb2_grpc.StageServiceServicer):
    """Requests by gRPC. A cancelled or expired call ends the run at its next checkpoint.

    `within` makes a session's blobs those of the run (`storage.port.SessionStore`); None: the store has no sessions.
    """

    def __init__(
        self,
        handler: StageHandler,
        ports: RunPorts,
        stop: threading.Event,
        within: Callable[[str], AbstractContextManager[None]] | None = None,
    ) -> None:
        self._handler = handler
        self._ports = ports
        self._stop = stop
        self._within = within

    def Run(  # noqa: N802 - the name is the proto's
        self, request: stage_service_pb2.RunRequest, context: grpc.ServicerContext
    ) -> stage_service_pb2.RunResponse:
        """Answers with the outcome; errors carry their code as the trailing metadata `glioserve-code`.

        An unexpected exception is logged and told by its kind alone: its text may quote a header.
        """
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        try:
            require_role(context, Role.STAGE)
        except RoleNotAllowed as error:
            _abort(context, error)
        try:
            asked = request_from_proto(request.request)
        except ValueError as error:
            _abort(context, Refused("NOT_A_REQUEST", str(error)))
        if asked.stage is not self._handler.stage:
            _abort(context, Refused("WRONG_STAGE", f"this process answers {self._handler.stage} requests"))
        ended = _CallEnded(context, self._stop)
        try:
            with continued(f"{asked.stage} call", metadata), self._session(metadata.get(SESSION_METADATA)):
                outcome = run(self._handler, asked, self._ports, StopCheckpoint(ended))
        except GlioServeError as error:
            _abort(context, error)
        except Exception as error:  # a top-level loop (house style 3.5)
            log.exception("stage.unexpected", extra={"stage": str(asked.stage), "study": asked.study.study})
            context.set_trailing_metadata((("glioserve-code", "UNEXPECTED"),))
            context.abort(grpc.StatusCode.INTERNAL, f"UNEXPECTED: {type(error).__name__}; the log has the place")
        return stage_service_pb2.RunResponse(outcome=outcome_to_proto(outcome))

    def _session(self, name: str | None) -> AbstractContextManager[None]:
        return nullcontext() if self._within is None or name is None else self._within(name)


class _CallEnded:
    """A stop signal that is also set once the caller has gone."""

    def __init__(self, context: grpc.ServicerContext, stop: threading.Event) -> None:
        self._context = context
        self._stop = stop

    def is_set(self) -> bool:
        return self._stop.is_set() or not self._context.is_active()

    def wait(self, timeout: float | None = None) -> bool:
        self._stop.wait(timeout)
        return self.is_set()


def _decoded(record: Record) -> StageRequest:
    try:
        return decode_request(record.value)
    except ValueError as error:
        raise Permanent("NOT_A_REQUEST", f"the message cannot be read: {error}") from error


def _abort(context: grpc.ServicerContext, error: GlioServeError) -> NoReturn:
    kind = next(kind for kind in _STATUS_OF if isinstance(error, kind))
    context.set_trailing_metadata((("glioserve-code", error.code),))
    context.abort(_STATUS_OF[kind], f"{error.code}: {error.message}")
    raise AssertionError("abort does not return")
