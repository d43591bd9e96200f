"""The theatre's own preparation and segmentation over gRPC; statuses become the caller's reactions again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import grpc
import grpc.aio
from glioserve.stage.v1 import stage_service_pb2, stage_service_pb2_grpc

from services.core.contracts.enums import Stage
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.events import StageOutcome, StageRequest
from services.core.contracts.wire import outcome_from_proto, request_to_proto
from services.core.security.tls import RenewedChannel, TlsSettings
from services.core.telemetry.tracing import trace_headers

_CLASS_OF: dict[grpc.StatusCode, type[GlioServeError]] = {
    grpc.StatusCode.FAILED_PRECONDITION: Permanent,
    grpc.StatusCode.INTERNAL: Permanent,
    grpc.StatusCode.PERMISSION_DENIED: Permanent,
    grpc.StatusCode.UNIMPLEMENTED: Permanent,
    grpc.StatusCode.INVALID_ARGUMENT: Refused,
}
CODE, SESSION = "glioserve-code", "glioserve-session"
_AWAY = {Stage.PREPARE: "PREPARATION_FAILED", Stage.SEGMENT: "INFERENCE_UNAVAILABLE"}


class GrpcStages:
    """The port `Stages`. `address_of` gives where a stage listens now, or None while it is away."""

    def __init__(self, address_of: Callable[[Stage], str | None], tls: TlsSettings) -> None:
        self._address_of = address_of
        self._tls = tls
        self._channels: dict[str, RenewedChannel] = {}

    async def run(self, request: StageRequest, session: str, within_s: float) -> StageOutcome:
        """Runs a stage to its outcome. Cancelling the task cancels the call and with it the run."""
        address = self._address_of(request.stage)
        if address is None:
            raise Transient(_AWAY[request.stage], f"the theatre's {request.stage} process is away")
        stub = stage_service_pb2_grpc.StageServiceStub(self._channel(address).get())
        message = stage_service_pb2.RunRequest(request=request_to_proto(request))
        try:
            answer = await stub.Run(
                message, timeout=max(within_s, 0.01), metadata=((SESSION, session), *trace_headers().items())
            )
        except grpc.aio.AioRpcError as error:
            raise _classed(request.stage, error) from error
        return outcome_from_proto(answer.outcome)

    async def close(self) -> None:
        """Ends all calls."""
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, address: str) -> RenewedChannel:
        if address not in self._channels:
            self._channels[address] = RenewedChannel(address, self._tls)
        return self._channels[address]


def _classed(stage: Stage, error: grpc.aio.AioRpcError) -> GlioServeError:
    trailing = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    code = next((str(value) for key, value in trailing if key == CODE), _AWAY[stage])
    kind = _CLASS_OF.get(error.code(), Transient)
    message = (error.details() or str(error.code())).removeprefix(f"{code}: ")
    return kind(code, message)
