"""What every state store promises: SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from services.core.contracts.enums import BlobClass, Completeness, Lane, Modality, OutcomeStatus, Stage, Verdict
from services.core.contracts.events import BlobRef
from services.core.contracts.facts import Source
from services.core.contracts.ids import PatientKey, StudyKey, digest_of
from services.gateway.adapters.database import Database
from services.gateway.adapters.state import SqlStateStore
from services.gateway.adapters.views import SqlViews
from services.gateway.domain import flow
from services.gateway.domain.history import HistoryEvent
from services.gateway.domain.intake import Instance, StudyFacts
from services.gateway.domain.view import StudyState, state_of
from services.gateway.ports import ResultRow
from tests.unit.gateway.flow_world import answered, manifest

pytestmark = pytest.mark.contract
NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
PATIENT, STUDY = PatientKey("p" * 32), StudyKey("s" * 36)
FACTS = StudyFacts(
    study=STUDY, patient=PATIENT, source=Source.NIFTI, study_uid=None, acquired_at="2024-01-01", lane=Lane.ROUTINE
)
INSTANCE = Instance(
    instance="t1c",
    series="nifti-t1c",
    slot=Modality.T1C,
    fingerprint="sha256:" + "0" * 64,
    blob=BlobRef(digest=digest_of(b"x"), size=1, media_type="x", blob_class=BlobClass.IDENTIFIED),
)


@pytest.fixture
def store(database: Database) -> SqlStateStore:
    return SqlStateStore(database)


def opened(store: SqlStateStore) -> None:
    with store.write() as transaction:
        transaction.lock(PATIENT, NOW)
        transaction.add_study(FACTS, NOW)
        transaction.add_instances(STUDY, [INSTANCE], "http", NOW)
        transaction.add_version(STUDY, 1, manifest("intake", "i"), NOW)
        for request in flow.due(transaction.patient(PATIENT), NOW):
            transaction.add_request(request, {"traceparent": "00-1-2-03"})
        transaction.add_history(STUDY, 1, HistoryEvent.VERSION, NOW, instances=1)


def test_what_was_written_is_read_back_as_it_was(store: SqlStateStore) -> None:
    opened(store)
    with store.write() as transaction:
        row = transaction.study(STUDY)
        assert row is not None
        assert (row.version, row.created_at, row.acquired_at) == (1, NOW, "2024-01-01")
        assert transaction.instances(STUDY) == [INSTANCE]
        assert transaction.open_instances(STUDY) == 0
        (study,) = transaction.patient(PATIENT).studies
        (record,) = study.requests
    assert record.request.stage is Stage.PREPARE
    assert record.request.requested_at == NOW
    assert record.pending


def test_a_transaction_that_fails_leaves_nothing(store: SqlStateStore, database: Database) -> None:
    def breaks() -> None:
        with store.write() as transaction:
            transaction.lock(PATIENT, NOW)
            transaction.add_study(FACTS, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()
    with store.write() as transaction:
        assert transaction.study(STUDY) is None
        assert transaction.patient_of(STUDY) is None
    assert SqlViews(database).studies(10) == []


def test_requests_and_their_messages_commit_together_and_leave_in_order(store: SqlStateStore) -> None:
    opened(store)
    with store.claim(10) as claim:
        (row,) = claim.rows
        assert row.key == PATIENT
        assert row.headers["traceparent"] == "00-1-2-03"
        assert row.topic == "glioserve.study.prepare.routine.v1"
        claim.mark(row, NOW)
    assert store.unsent(10) == []
    with store.claim(10) as claim:
        assert not claim.rows
    store.forget_sent(NOW + timedelta(seconds=1))
    assert len(store.pending(NOW + timedelta(seconds=1))) == 1
    assert store.pending(NOW) == []


def test_a_request_settles_once_and_a_new_version_silences_the_old(store: SqlStateStore) -> None:
    opened(store)
    (found,) = store.pending(NOW + timedelta(days=1))
    with store.write() as transaction:
        transaction.settle(answered(found.request, OutcomeStatus.COMPLETED), NOW)
        transaction.settle(answered(found.request, OutcomeStatus.FAILED), NOW)
    with store.write() as transaction:
        (study,) = transaction.patient(PATIENT).studies
        outcome = study.requests[0].outcome
        assert outcome is not None
        assert outcome.status is OutcomeStatus.COMPLETED
        for request in flow.due(transaction.patient(PATIENT), NOW):
            transaction.add_request(request, {})
    assert [p.request.stage for p in store.pending(NOW + timedelta(days=1))] == [Stage.SEGMENT]
    with store.write() as transaction:
        transaction.add_version(STUDY, 2, manifest("intake", "j"), NOW)
    assert store.pending(NOW + timedelta(days=1)) == []


def test_the_highest_revision_of_the_current_version_is_the_result(store: SqlStateStore, database: Database) -> None:
    opened(store)
    with store.write() as transaction:
        for version, revision in [(1, 1), (1, 2), (2, 1)]:
            transaction.add_result(
                ResultRow(
                    study=STUDY,
                    version=version,
                    revision=revision,
                    manifest=manifest("report", f"{version}.{revision}"),
                    completeness=Completeness.COMPLETE,
                    verdict=Verdict.TRUSTED,
                    outputs={"report.pdf": INSTANCE.blob},
                    created_at=NOW,
                )
            )
    view = SqlViews(database).study(STUDY)
    assert view is not None
    assert view.result is not None
    assert (view.result.version, view.result.revision) == (1, 2)
    assert view.result.outputs == {"report.pdf": INSTANCE.blob}
    assert state_of(view.row, view.record) is StudyState.ACCEPTED


def test_quiet_studies_are_found_when_their_time_has_come(store: SqlStateStore) -> None:
    opened(store)
    with store.write() as transaction:
        transaction.close_at(STUDY, NOW)
    assert store.quiet_studies(NOW - timedelta(seconds=1)) == []
    assert store.quiet_studies(NOW) == [STUDY]


def test_writers_of_one_patient_wait_for_each_other(store: SqlStateStore) -> None:
    opened(store)
    seen: list[int] = []

    def write() -> None:
        with store.write() as transaction:
            transaction.lock(PATIENT, NOW)
            row = transaction.study(STUDY)
            assert row is not None
            transaction.add_version(STUDY, row.version + 1, manifest("intake", f"v{row.version + 1}"), NOW)
            seen.append(row.version + 1)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [2, 3, 4, 5, 6, 7]


def test_readers_do_not_wait_for_a_writer(store: SqlStateStore, database: Database) -> None:
    opened(store)
    with store.write() as transaction:
        transaction.set_lane(STUDY, Lane.STAT)
        view = SqlViews(database).study(STUDY)
        assert view is not None
        assert view.row.lane is Lane.ROUTINE
