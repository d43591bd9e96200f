"""Rule 3: one manifest per run, redelivery recomputes nothing, crashes are counted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.core.contracts.enums import Completeness, Lane, OutcomeStatus, Stage
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.events import StageRequest, StudyRef
from services.core.contracts.ids import PatientKey, RequestId, StudyKey
from services.core.contracts.manifest import ModelRef, Reason
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints, arm
from services.core.runtime.stage import MAX_CRASHES, RunPorts, StageResult, read_manifest, run
from services.core.runtime.steps import Checkpoint
from services.core.storage.local import LocalBlobStore
from services.core.telemetry.metrics import Metrics

pytestmark = pytest.mark.unit

REQUEST = StageRequest(
    request_id=RequestId("q"),
    stage=Stage.SUBTYPE,
    study=StudyRef(patient=PatientKey("p"), study=StudyKey("s"), version=1),
    lane=Lane.ROUTINE,
    inputs=(),
    requested_at=datetime(2026, 1, 1, tzinfo=UTC),
)


class Crash(BaseException):
    """Stands for the end of the process: nothing in the code under test may catch it."""


@dataclass
class Handler:
    result: StageResult = field(default_factory=StageResult)
    error: BaseException | None = None
    calls: int = 0
    stage: Stage = Stage.SUBTYPE
    settings_hash: str = "settings"

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        return ()

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        self.calls += 1
        checkpoint()
        if self.error is not None:
            raise self.error
        return self.result


def passes() -> None:
    return None


@pytest.fixture
def ports(tmp_path: Path) -> RunPorts:
    return RunPorts(
        blobs=LocalBlobStore(tmp_path / "blobs"),
        clock=SystemClock(),
        failpoints=Failpoints(tmp_path),
        metrics=Metrics(CollectorRegistry()),
    )


def test_a_run_stores_its_manifest_and_reports_it(ports: RunPorts) -> None:
    handler = Handler(StageResult(facts={"n": 1}))
    outcome = run(handler, REQUEST, ports, passes)
    assert outcome.status is OutcomeStatus.COMPLETED
    assert outcome.manifest is not None
    manifest = read_manifest(ports.blobs, outcome.manifest)
    assert (manifest.run_id, manifest.facts) == (outcome.run_id, {"n": 1})


def test_a_redelivery_gives_the_same_outcome_without_computing(ports: RunPorts) -> None:
    handler = Handler()
    first = run(handler, REQUEST, ports, passes)
    again = run(handler, replace(REQUEST, lane=Lane.STAT), ports, passes)
    assert handler.calls == 1
    assert (again.run_id, again.manifest) == (first.run_id, first.manifest)


def test_a_theatre_run_whose_volumes_its_session_has_freed_is_computed_again(ports: RunPorts) -> None:
    request = replace(REQUEST, lane=Lane.THEATRE)
    volume = ports.blobs.put(b"voxels", "a/b")
    handler = Handler(StageResult(outputs={"mask": volume}))
    first = run(handler, request, ports, passes)
    assert run(handler, request, ports, passes).run_id == first.run_id
    assert handler.calls == 1
    with ports.blobs.local_path(volume) as path:
        path.unlink()
    assert run(handler, request, ports, passes).run_id == first.run_id
    assert handler.calls == 2


def test_a_result_with_limits_is_a_degraded_outcome(ports: RunPorts) -> None:
    limits = StageResult(completeness=Completeness.DEGRADED, reasons=(Reason(code="T1C_MISSING", message="none"),))
    assert run(Handler(limits), REQUEST, ports, passes).status is OutcomeStatus.DEGRADED


def test_a_refusal_is_an_outcome_with_its_reason(ports: RunPorts) -> None:
    outcome = run(Handler(error=Refused("NO_SEQUENCE", "nothing to use", "Send t1c.")), REQUEST, ports, passes)
    assert outcome.status is OutcomeStatus.REFUSED
    assert outcome.manifest is None
    assert outcome.problem is not None
    assert (outcome.problem.code, outcome.problem.advice) == ("NO_SEQUENCE", "Send t1c.")


@pytest.mark.parametrize("error", [Transient("BUSY", "later"), Permanent("BROKEN", "never")])
def test_classed_errors_reach_the_consumer_and_are_no_crashes(ports: RunPorts, error: GlioServeError) -> None:
    for _ in range(MAX_CRASHES + 2):
        with pytest.raises(type(error)):
            run(Handler(error=error), REQUEST, ports, passes)
    assert run(Handler(), REQUEST, ports, passes).status is OutcomeStatus.COMPLETED


class FullAfterTheStart(LocalBlobStore):
    """A store on a disk that fills up once the attempt has started."""

    def put_named(self, name: str, data: bytes) -> bytes:
        if name.endswith(".ended"):
            raise Transient("DISK_FULL", "no room")
        return super().put_named(name, data)


def test_an_end_that_finds_no_room_is_no_crash_either(ports: RunPorts, tmp_path: Path) -> None:
    full = replace(ports, blobs=FullAfterTheStart(tmp_path / "blobs"))
    for _ in range(MAX_CRASHES + 2):
        with pytest.raises(Transient, match="no room for the output"):
            run(Handler(error=Transient("DISK_FULL", "no room for the output")), REQUEST, full, passes)
    assert run(Handler(), REQUEST, ports, passes).status is OutcomeStatus.COMPLETED


class FullForManifests(LocalBlobStore):
    """A store that has room for attempts, and none for a manifest."""

    def put_named(self, name: str, data: bytes) -> bytes:
        if ".attempt-" not in name:
            raise Transient("DISK_FULL", "no room for the manifest")
        return super().put_named(name, data)


def test_a_manifest_that_finds_no_room_is_no_crash_either(ports: RunPorts, tmp_path: Path) -> None:
    full = replace(ports, blobs=FullForManifests(tmp_path / "blobs"))
    for _ in range(MAX_CRASHES + 2):
        with pytest.raises(Transient, match="no room for the manifest"):
            run(Handler(), REQUEST, full, passes)
    assert run(Handler(), REQUEST, ports, passes).status is OutcomeStatus.COMPLETED


def test_after_three_starts_without_an_end_the_request_is_given_up(ports: RunPorts) -> None:
    for _ in range(MAX_CRASHES):
        with pytest.raises(Crash):
            run(Handler(error=Crash()), REQUEST, ports, passes)
    handler = Handler()
    with pytest.raises(Permanent, match="3 times") as caught:
        run(handler, REQUEST, ports, passes)
    assert caught.value.code == "CRASHED_REPEATEDLY"
    assert handler.calls == 0


def test_a_failpoint_acts_once_for_each_time_it_is_armed(ports: RunPorts, tmp_path: Path) -> None:
    arm(tmp_path, "stage.before_manifest", ["transient", "transient"])
    armed = replace(ports, failpoints=Failpoints(tmp_path))
    for _ in range(2):
        with pytest.raises(Transient):
            run(Handler(), REQUEST, armed, passes)
    assert run(Handler(), REQUEST, armed, passes).status is OutcomeStatus.COMPLETED
