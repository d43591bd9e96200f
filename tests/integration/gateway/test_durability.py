"""Outbox, outcomes, reconciler and quiet studies: what holds when things break between two steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.core.bus.embedded import EmbeddedBus
from services.core.bus.topics import HEADER_REQUEST_ID, request_topic, stage_group
from services.core.contracts.enums import Lane, OutcomeStatus, Stage
from services.core.contracts.errors import Permanent, Transient
from services.core.contracts.events import StageRequest
from services.core.contracts.ids import RequestId
from services.core.contracts.wire import decode_request
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoint, Failpoints, arm
from services.core.runtime.home import Home
from services.core.runtime.stage import read_manifest
from services.core.storage.local import LocalBlobStore
from services.gateway.bootstrap import Gateway, wired
from services.gateway.domain.history import HistoryEvent
from services.gateway.domain.upload import StagedFile, parse_statements
from services.gateway.handlers.background import OutboxRelay, Reconciler
from services.gateway.handlers.examine import examine
from services.gateway.handlers.instances import Delivery, take_instances
from services.gateway.handlers.intake import Accepted, accept, close_quiet_studies, close_study
from services.gateway.handlers.progress import take_outcome
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.conftest import process_of
from tests.integration.gateway.dicom_files import mr_instance, mr_study
from tests.integration.gateway.running import outcome_of

pytestmark = pytest.mark.integration
BUDGET_S = 900.0


class MovableClock(SystemClock):
    """The machine's clock, which a test may put forward."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class Bench:
    """A wired gateway without its threads, and the bus it sends to."""

    gateway: Gateway
    home: Home
    bus: EmbeddedBus
    clock: MovableClock
    sent: list[StageRequest] = field(default_factory=list)

    def submit(self, tmp: Path, *, close: bool = True, slices: int = 2) -> Accepted:
        files = []
        for number, (name, data) in enumerate(mr_study(slices, 1).items()):
            path = tmp / f"{number}.dcm"
            path.write_bytes(data)
            files.append(StagedFile(path=path, size=len(data), name=name))
        context = self.gateway.context
        submission = examine(files, parse_statements(None, None, None, []), context.inspector)
        return accept(submission, Lane.ROUTINE, "stow", context.intake, close=close)

    def relay(self) -> OutboxRelay:
        flow = self.gateway.context.intake.flow
        metrics = self.gateway.context.metrics
        return OutboxRelay(flow.state, self.bus.producer(), self.clock, flow.failpoints, metrics)

    def reconciler(self) -> Reconciler:
        return Reconciler(self.gateway.context.intake.flow.state, self.bus.admin(), self.clock, BUDGET_S)

    def on_bus(self, stage: Stage, *, commit: bool = False) -> list[StageRequest]:
        topic = request_topic(stage, Lane.ROUTINE)
        consumer = self.bus.consumer(stage_group(stage) if commit else "test", [topic])
        found = []
        while records := consumer.poll(0.3, max_records=10):
            for record in records:
                found.append(decode_request(record.value))
                assert record.headers[HEADER_REQUEST_ID] == found[-1].request_id
                if commit:
                    consumer.commit(record)
        consumer.close()
        return found

    def take(self, request: StageRequest, status: OutcomeStatus = OutcomeStatus.COMPLETED) -> bool:
        outcome = outcome_of(request, status, LocalBlobStore(self.home.blobs))
        return take_outcome(outcome, self.gateway.context.intake.flow)

    def pending(self) -> list[StageRequest]:
        state = self.gateway.context.intake.flow.state
        return [found.request for found in state.pending(self.clock.now() + timedelta(days=1))]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def bench(home: Home) -> Iterator[Bench]:
    clock = MovableClock()
    process = replace(process_of(home, {}), clock=clock)
    arm(home.root, "gateway.before_blob", [])  # the folder makes failpoints look
    process = replace(process, failpoints=Failpoints(home.root))
    with wired(process, GatewaySettings()) as gateway:
        yield Bench(gateway, home, EmbeddedBus(home.bus), clock)


def test_a_request_is_sent_once_the_relay_runs_and_not_again(bench: Bench, tmp_path: Path) -> None:
    bench.submit(tmp_path)
    assert bench.relay().sweep() == 1
    assert bench.relay().sweep() == 0
    assert [r.stage for r in bench.on_bus(Stage.PREPARE)] == [Stage.PREPARE]


@pytest.mark.parametrize("point", ["gateway.before_outbox_send", "gateway.after_outbox_send"])
def test_a_relay_that_breaks_around_the_send_loses_nothing(bench: Bench, tmp_path: Path, point: Failpoint) -> None:
    bench.submit(tmp_path)
    arm(bench.home.root, point, ["transient"])
    with pytest.raises(Transient):
        bench.relay().sweep()
    assert bench.relay().sweep() == 1
    sent = bench.on_bus(Stage.PREPARE)
    assert len(sent) == (1 if point == "gateway.before_outbox_send" else 2)
    assert len({request.request_id for request in sent}) == 1


@pytest.mark.parametrize("point", ["gateway.before_row", "gateway.after_row", "gateway.after_blob"])
def test_an_upload_that_breaks_can_be_sent_again(bench: Bench, tmp_path: Path, point: Failpoint) -> None:
    arm(bench.home.root, point, ["transient"])
    with pytest.raises(Transient):
        bench.submit(tmp_path)
    again = bench.submit(tmp_path)
    assert again.version == 1
    assert len(bench.pending()) == 1


def test_an_outcome_that_breaks_before_its_commit_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.submit(tmp_path)
    (prepare,) = bench.pending()
    arm(bench.home.root, "gateway.before_outcome_commit", ["transient"])
    with pytest.raises(Transient):
        bench.take(prepare)
    assert bench.pending() == [prepare]
    assert bench.take(prepare)
    assert [r.stage for r in bench.pending()] == [Stage.SEGMENT]


def test_an_outcome_that_breaks_after_its_commit_counts_once(bench: Bench, tmp_path: Path) -> None:
    bench.submit(tmp_path)
    (prepare,) = bench.pending()
    arm(bench.home.root, "gateway.after_outcome_commit", ["transient"])
    with pytest.raises(Transient):
        bench.take(prepare)
    assert not bench.take(prepare, OutcomeStatus.FAILED)
    assert [r.stage for r in bench.pending()] == [Stage.SEGMENT]


def test_an_outcome_without_a_request_is_for_the_dead_letters(bench: Bench, tmp_path: Path) -> None:
    bench.submit(tmp_path)
    (prepare,) = bench.pending()
    with pytest.raises(Permanent):
        bench.take(replace(prepare, request_id=RequestId("00000000-0000-0000-0000-000000000000")))
    with pytest.raises(Permanent):
        bench.take(replace(prepare, study=replace(prepare.study, version=7)))
    assert bench.pending() == [prepare]


def test_a_report_whose_manifest_is_damaged_is_a_failure_that_a_replay_can_heal(bench: Bench, tmp_path: Path) -> None:
    study = bench.submit(tmp_path).study
    while (request := bench.pending()[0]).stage is not Stage.REPORT:
        bench.take(request)
    outcome = outcome_of(request, OutcomeStatus.COMPLETED, LocalBlobStore(bench.home.blobs))
    assert outcome.manifest is not None
    damaged = outcome.manifest.blob.digest.removeprefix("sha256:")
    (bench.home.blobs / "derived" / damaged[:2] / damaged).write_bytes(b"{}")
    assert take_outcome(outcome, bench.gateway.context.intake.flow)
    view = bench.gateway.context.views.study(study)
    assert view is not None
    assert view.result is None


def test_a_silent_request_is_sent_again_once_a_budget_and_a_queued_one_is_not(bench: Bench, tmp_path: Path) -> None:
    bench.submit(tmp_path)
    bench.relay().sweep()
    bench.clock.ahead = timedelta(seconds=BUDGET_S * 3)
    assert bench.reconciler().sweep() == 0, "it is still queued"
    bench.clock.ahead = timedelta()
    (request,) = bench.on_bus(Stage.PREPARE, commit=True)
    assert bench.reconciler().sweep() == 0, "its budget is not over"
    bench.clock.ahead = timedelta(seconds=BUDGET_S + 60)
    assert bench.reconciler().sweep() == 1
    assert bench.reconciler().sweep() == 0
    bench.relay().sweep()
    assert [r.request_id for r in bench.on_bus(Stage.PREPARE)] == [request.request_id] * 2
    bench.clock.ahead = timedelta()
    assert bench.take(request)
    events = [row.event for row in bench.gateway.context.views.history(request.study.study)]
    assert events.count(HistoryEvent.SENT_AGAIN) == 1


def test_a_request_that_the_bus_lost_is_sent_again(bench: Bench, tmp_path: Path) -> None:
    bench.submit(tmp_path)
    bench.clock.ahead = timedelta(seconds=BUDGET_S + 60)
    assert bench.reconciler().sweep() == 0, "it still lies in the outbox"
    bench.relay().sweep()
    with sqlite3.connect(bench.home.bus) as log:
        log.execute("DELETE FROM record")
    assert bench.reconciler().sweep() == 1
    assert bench.reconciler().sweep() == 0, "once per budget"
    bench.relay().sweep()
    assert len(bench.on_bus(Stage.PREPARE)) == 1


def test_instances_come_in_any_order_and_the_earliest_dates_the_study(bench: Bench) -> None:
    intake, inspector = bench.gateway.context.intake, bench.gateway.context.inspector
    studies = set()
    for number, moment in ((1, "101500"), (2, "101000"), (3, "102000")):
        path = bench.home.staging / f"{number}.dcm"
        path.write_bytes(mr_instance(number, AcquisitionDate="20240501", AcquisitionTime=moment))
        file = StagedFile(path=path, size=path.stat().st_size, name="instance.dcm")
        (receipt,) = take_instances([file], Delivery(door="dicom"), inspector, intake)
        assert receipt.study is not None
        studies.add(receipt.study)
    (study,) = studies
    close_study(study, intake)
    (request,) = bench.pending()
    facts = read_manifest(LocalBlobStore(bench.home.blobs), request.inputs[0]).facts
    assert facts["acquired_at"] == "2024-05-01T10:10:00"


def test_a_study_left_open_closes_after_its_quiet_period_or_when_told(bench: Bench, tmp_path: Path) -> None:
    intake = bench.gateway.context.intake
    opened = bench.submit(tmp_path, close=False)
    assert opened.version == 0
    assert close_quiet_studies(intake) == 0
    bench.clock.ahead = timedelta(seconds=intake.quiet_s + 1)
    assert close_quiet_studies(intake) == 1
    assert [r.stage for r in bench.pending()] == [Stage.PREPARE]
    assert close_quiet_studies(intake) == 0
    bench.submit(tmp_path, close=False, slices=3)
    assert close_study(opened.study, intake) == 2
    assert close_study(opened.study, intake) == 2
    assert [r.study.version for r in bench.pending()] == [2]
