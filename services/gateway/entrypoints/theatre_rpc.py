"""The internal gRPC door for the operating room's server (architecture section 5). Converts and delegates."""

from __future__ import annotations

from concurrent import futures
from types import TracebackType
from typing import NoReturn, Self

import grpc
from glioserve.gateway.v1 import theatre_service_pb2, theatre_service_pb2_grpc

from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.ids import StudyKey
from services.core.contracts.wire import (
    manifest_ref_from_proto,
    manifest_ref_to_proto,
    study_ref_from_proto,
    study_ref_to_proto,
)
from services.core.security.roles import Role, require_role
from services.core.security.tls import TlsSettings, listen
from services.gateway.errors import NotFound
from services.gateway.handlers.progress import FlowPorts
from services.gateway.handlers.theatre import current_study, record_mask
from services.gateway.ports import Views

CALLS_AT_ONCE = 4
_STATUS_OF: tuple[tuple[type[GlioServeError], grpc.StatusCode], ...] = (
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Transient, grpc.StatusCode.UNAVAILABLE),
    (Permanent, grpc.StatusCode.FAILED_PRECONDITION),
    (Refused, grpc.StatusCode.INVALID_ARGUMENT),
)


class TheatreServicer(theatre_service_pb2_grpc.TheatreServiceServicer):
    """Studies out, masks in. Only for processes of this installation."""

    def __init__(self, views: Views, flow: FlowPorts) -> None:
        self._views = views
        self._flow = flow

    def GetStudy(  # noqa: N802 - the name is the proto's
        self, request: theatre_service_pb2.GetStudyRequest, context: grpc.ServicerContext
    ) -> theatre_service_pb2.GetStudyResponse:
        """The current version's manifests."""
        try:
            require_role(context, Role.STAGE)
            study, manifests = current_study(StudyKey(request.study), self._views)
        except GlioServeError as error:
            _abort(context, error)
        return theatre_service_pb2.GetStudyResponse(
            study=study_ref_to_proto(study), manifests=[manifest_ref_to_proto(ref) for ref in manifests]
        )

    def RecordResult(  # noqa: N802 - the name is the proto's
        self, request: theatre_service_pb2.RecordResultRequest, context: grpc.ServicerContext
    ) -> theatre_service_pb2.RecordResultResponse:
        """Records a mask; the same one twice is one record."""
        try:
            require_role(context, Role.STAGE)
            study, result = study_ref_from_proto(request.study), manifest_ref_from_proto(request.manifest)
            record_mask(study, result, request.acquired_at or None, self._flow)
        except GlioServeError as error:
            _abort(context, error)
        except ValueError as error:
            _abort(context, Refused("NOT_A_RESULT", str(error)))
        return theatre_service_pb2.RecordResultResponse()


class TheatreDoor:
    """The server around it. `address` is host:port."""

    def __init__(self, servicer: TheatreServicer, tls: TlsSettings, host: str, port: int) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=CALLS_AT_ONCE))
        theatre_service_pb2_grpc.add_TheatreServiceServicer_to_server(servicer, self._server)
        self.address = f"{host}:{listen(self._server, tls, host, port)}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=2.0).wait()


def _abort(context: grpc.ServicerContext, error: GlioServeError) -> NoReturn:
    status = next((code for kind, code in _STATUS_OF if isinstance(error, kind)), grpc.StatusCode.UNKNOWN)
    context.set_trailing_metadata((("glioserve-code", error.code),))
    context.abort(status, f"{error.code}: {error.message}")
    raise AssertionError("abort does not return")
