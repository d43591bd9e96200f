"""The gRPC door of a stage, through a real server: outcomes, errors by reaction, cancelled calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from glioserve.stage.v1 import stage_service_pb2, stage_service_pb2_grpc
from glioserve.study.v1 import study_pb2
from prometheus_client import CollectorRegistry

from services.core.contracts.enums import Lane, Stage
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.events import StageRequest, StudyRef
from services.core.contracts.ids import PatientKey, RequestId, StudyKey
from services.core.contracts.manifest import ModelRef
from services.core.contracts.wire import request_to_proto
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.stage import RunPorts, StageResult
from services.core.runtime.stage_doors import StageServicer
from services.core.runtime.steps import Checkpoint
from services.core.security.development import make_certificates
from services.core.security.roles import Role
from services.core.security.tls import TlsSettings, channel, listen
from services.core.storage.local import LocalBlobStore
from services.core.telemetry.metrics import Metrics

pytestmark = pytest.mark.integration
Body = Callable[[Checkpoint], StageResult]


@dataclass
class Handler:
    body: Body = lambda _: StageResult()
    stage: Stage = Stage.SUBTYPE
    settings_hash: str = "s"
    ended: threading.Event = field(default_factory=threading.Event)

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        return ()

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        try:
            return self.body(checkpoint)
        finally:
            self.ended.set()


def request(stage: Stage = Stage.SUBTYPE, lane: Lane = Lane.THEATRE) -> stage_service_pb2.RunRequest:
    asked = StageRequest(
        request_id=RequestId("q"),
        stage=stage,
        study=StudyRef(patient=PatientKey("p"), study=StudyKey("s"), version=1),
        lane=lane,
        inputs=(),
        requested_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return stage_service_pb2.RunRequest(request=request_to_proto(asked))


PLAIN = TlsSettings(plain=True)


@contextmanager
def door(
    handler: Handler, folder: Path, server_tls: TlsSettings = PLAIN, client_tls: TlsSettings = PLAIN
) -> Iterator[stage_service_pb2_grpc.StageServiceStub]:
    ports = RunPorts(
        blobs=LocalBlobStore(folder / "blobs"),
        clock=SystemClock(),
        failpoints=Failpoints(folder),
        metrics=Metrics(CollectorRegistry()),
    )
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    stage_service_pb2_grpc.add_StageServiceServicer_to_server(StageServicer(handler, ports, threading.Event()), server)
    port = listen(server, server_tls, "127.0.0.1", 0)
    server.start()
    try:
        with channel(f"127.0.0.1:{port}", client_tls) as link:
            yield stage_service_pb2_grpc.StageServiceStub(link)
    finally:
        server.stop(grace=None).wait()


def raising(error: GlioServeError) -> Body:
    def body(checkpoint: Checkpoint) -> StageResult:
        raise error

    return body


def said(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Status and code of a failed call; the stubs do not say that such an error is a call too."""
    call: Any = error
    return call.code(), dict(call.trailing_metadata())["glioserve-code"]


def test_a_call_is_answered_with_the_outcome(tmp_path: Path) -> None:
    with door(Handler(), tmp_path) as stage:
        outcome = stage.Run(request()).outcome
    assert outcome.status == study_pb2.OUTCOME_STATUS_COMPLETED
    assert outcome.manifest.run_id == outcome.run_id


def test_only_a_process_of_the_installation_may_call(tmp_path: Path) -> None:
    make_certificates(tmp_path / "certs")
    tls = {
        role: TlsSettings(certificate=folder / "cert.pem", key=folder / "key.pem", authorities=folder / "ca.pem")
        for role in Role
        for folder in [tmp_path / "certs" / role]
    }
    with door(Handler(), tmp_path, tls[Role.STAGE], tls[Role.STAGE]) as stage:
        assert stage.Run(request()).outcome.run_id
    for role in (Role.NAVIGATION, Role.OPERATIONS):
        with door(Handler(), tmp_path, tls[Role.STAGE], tls[role]) as stage, pytest.raises(grpc.RpcError) as caught:
            stage.Run(request())
        assert said(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")


def test_a_refusal_is_an_outcome_and_no_error(tmp_path: Path) -> None:
    with door(Handler(raising(Refused("NO_TUMOUR", "nothing to type"))), tmp_path) as stage:
        outcome = stage.Run(request()).outcome
    assert (outcome.status, outcome.problem.code) == (study_pb2.OUTCOME_STATUS_REFUSED, "NO_TUMOUR")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Transient("BUSY", "later"), grpc.StatusCode.UNAVAILABLE),
        (Permanent("BROKEN", "never"), grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
def test_errors_arrive_by_reaction_with_their_code(
    tmp_path: Path, error: GlioServeError, status: grpc.StatusCode
) -> None:
    with door(Handler(raising(error)), tmp_path) as stage, pytest.raises(grpc.RpcError) as caught:
        stage.Run(request())
    assert said(caught.value) == (status, error.code)


def test_an_unexpected_error_does_not_tell_its_text(tmp_path: Path) -> None:
    def body(checkpoint: Checkpoint) -> StageResult:
        raise LookupError("Zebrowska^Quirina")

    with door(Handler(body), tmp_path) as stage, pytest.raises(grpc.RpcError) as caught:
        stage.Run(request())
    assert said(caught.value) == (grpc.StatusCode.INTERNAL, "UNEXPECTED")
    assert "Quirina" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "code"),
    [(request(Stage.REPORT), "WRONG_STAGE"), (stage_service_pb2.RunRequest(), "NOT_A_REQUEST")],
)
def test_a_question_for_someone_else_is_refused(
    tmp_path: Path, message: stage_service_pb2.RunRequest, code: str
) -> None:
    with door(Handler(), tmp_path) as stage, pytest.raises(grpc.RpcError) as caught:
        stage.Run(message)
    assert said(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, code)


def test_a_cancelled_call_ends_the_run_at_its_next_checkpoint(tmp_path: Path) -> None:
    started = threading.Event()
    never = threading.Event()

    def body(checkpoint: Checkpoint) -> StageResult:
        started.set()
        while not never.wait(0.01):
            checkpoint()
        return StageResult()

    handler = Handler(body)
    with door(handler, tmp_path) as stage:
        call: Any = stage.Run.future(request())
        assert started.wait(10)
        call.cancel()
        assert handler.ended.wait(10)
