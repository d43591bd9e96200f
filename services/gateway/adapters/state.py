"""The gateway's durable state over SQLAlchemy Core: one transaction holds what must be true together (rule 5).

No statement here is of one database alone; what differs between them is in `database.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from services.core.bus.topics import HEADER_REQUEST_ID, HEADER_SCHEMA, request_topic
from services.core.contracts.documents import to_document
from services.core.contracts.enums import Lane
from services.core.contracts.errors import Transient
from services.core.contracts.events import ManifestRef, StageOutcome, StageRequest
from services.core.contracts.ids import JsonValue, PatientKey, StudyKey
from services.core.contracts.wire import decode_request, encode_outcome, encode_request
from services.gateway.adapters import outbox, schema
from services.gateway.adapters.database import Database, insert_new
from services.gateway.adapters.loading import load_studies
from services.gateway.adapters.rows import PENDING, manifest_to
from services.gateway.adapters.state_intake import IntakeRows
from services.gateway.domain.history import HistoryEvent
from services.gateway.domain.records import PatientRecord
from services.gateway.ports import IntraoperativeRow, OutboxClaim, OutboxRow, PendingRequest, ResultRow

REQUEST_SCHEMA = "glioserve.study.v1.StageRequest"


class SqlTransaction(IntakeRows):
    """Adapter of `ports.Transaction` over one open connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._on = connection

    def lock(self, patient: PatientKey, now: datetime) -> None:
        """Keeps other writers from this patient; makes the patient when it is new."""
        mine = select(schema.patients.c.patient).where(schema.patients.c.patient == patient).with_for_update()
        if self._on.execute(mine).first() is None:
            made = insert_new(self._on, schema.patients).values(patient=patient, created_at=now)
            if self._on.execute(made).rowcount == 0:  # another writer made it a moment ago: wait for that one
                self._on.execute(mine)

    def patient(self, patient: PatientKey) -> PatientRecord:
        """All studies of the patient that have a version."""
        return PatientRecord(
            patient=patient, studies=tuple(load_studies(self._on, schema.studies.c.patient == patient))
        )

    def patient_of(self, study: StudyKey) -> PatientKey | None:
        """Whose study it is, or None."""
        found = self._on.scalar(select(schema.studies.c.patient).where(schema.studies.c.study == study))
        return PatientKey(found) if found else None

    def add_request(self, request: StageRequest, trace: Mapping[str, str]) -> None:
        """Records a request and its message."""
        body = encode_request(request)
        self._on.execute(
            insert(schema.requests).values(
                request_id=request.request_id,
                patient=request.study.patient,
                study=request.study.study,
                version=request.study.version,
                stage=request.stage,
                lane=request.lane,
                replay=request.replay,
                revision=request.revision,
                body=body,
                status=PENDING,
                requested_at=request.requested_at,
                emitted_at=request.requested_at,
            )
        )
        self._post(request, body, trace, request.requested_at)

    def send_again(self, request: StageRequest, now: datetime) -> None:
        """Puts the message of a pending request into the outbox once more."""
        mine = schema.requests.c.request_id == request.request_id
        self._on.execute(update(schema.requests).where(mine).values(emitted_at=now))
        self._post(request, encode_request(request), {}, now)

    def settle(self, outcome: StageOutcome, now: datetime) -> None:
        """Records the final outcome of a pending request."""
        mine = (schema.requests.c.request_id == outcome.request_id) & (schema.requests.c.status == PENDING)
        values = {"status": outcome.status, "outcome": encode_outcome(outcome), "settled_at": now}
        self._on.execute(update(schema.requests).where(mine).values(values))

    def add_result(self, row: ResultRow) -> None:
        """Records a report."""
        self._on.execute(
            insert(schema.results).values(
                study=row.study,
                version=row.version,
                revision=row.revision,
                manifest=manifest_to(row.manifest),
                completeness=row.completeness,
                verdict=row.verdict,
                outputs={name: to_document(blob) for name, blob in row.outputs.items()},
                created_at=row.created_at,
            )
        )

    def add_intraoperative(self, row: IntraoperativeRow) -> bool:
        """Records a mask of the operating room; False when its run is recorded already."""
        added = self._on.execute(
            insert_new(self._on, schema.intraoperative).values(
                run_id=row.manifest.run_id,
                study=row.study.study,
                patient=row.study.patient,
                version=row.study.version,
                manifest=manifest_to(row.manifest),
                completeness=row.completeness,
                verdict=row.verdict,
                acquired_at=row.acquired_at,
                created_at=row.created_at,
            )
        )
        return added.rowcount == 1

    def add_history(
        self, study: StudyKey, version: int, event: HistoryEvent, now: datetime, **detail: JsonValue
    ) -> None:
        """Adds a row to the study's history."""
        self._on.execute(
            insert(schema.history).values(study=study, version=version, event=event, detail=detail, at=now)
        )

    def set_lane(self, study: StudyKey, lane: Lane) -> None:
        """Changes the lane of requests still to be made."""
        self._on.execute(update(schema.studies).where(schema.studies.c.study == study).values(lane=lane))

    def add_version(self, study: StudyKey, version: int, intake: ManifestRef, now: datetime) -> None:
        """Makes the union of all accepted instances the current version."""
        count = self.count_into_version(study, version)
        self._on.execute(
            insert(schema.versions).values(
                study=study, version=version, intake=manifest_to(intake), instances=count, created_at=now
            )
        )
        mine = schema.studies.c.study == study
        self._on.execute(update(schema.studies).where(mine).values(version=version, closes_at=None))

    def _post(self, request: StageRequest, body: bytes, trace: Mapping[str, str], now: datetime) -> None:
        headers = {HEADER_REQUEST_ID: request.request_id, HEADER_SCHEMA: REQUEST_SCHEMA, **trace}
        self._on.execute(
            insert(schema.outbox).values(
                topic=request_topic(request.stage, request.lane),
                key=request.study.patient,
                value=body,
                headers=headers,
                created_at=now,
            )
        )


class SqlStateStore:
    """Adapter of `ports.StateStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def write(self) -> Iterator[SqlTransaction]:
        """One transaction."""
        with self._database.write() as connection:
            yield SqlTransaction(connection)

    def quiet_studies(self, now: datetime) -> list[StudyKey]:
        """Studies whose quiet period is over."""
        asked = select(schema.studies.c.study).where(schema.studies.c.closes_at <= now)
        with self._database.read() as connection:
            return [StudyKey(key) for key in connection.scalars(asked)]

    def unsent(self, limit: int) -> list[OutboxRow]:
        """The oldest messages that are to be sent, in order."""
        with self._database.read() as connection:
            return outbox.unsent(connection, limit)

    def mark_sent(self, row: OutboxRow, now: datetime) -> None:
        """The message is durable on the bus."""
        with self._database.write() as connection:
            outbox.mark_sent(connection, row, now)

    @contextmanager
    def claim(self, limit: int) -> Iterator[OutboxClaim]:
        """The oldest message of each patient, while no other gateway sends it. Marks are durable at the end.

        A later message of a patient is never claimed before the earlier one is marked: order per patient holds however
        many gateways send.
        """
        if not self._database.shared:
            yield OutboxClaim(rows=self.unsent(limit), mark=self.mark_sent)
            return
        stopped: Transient | None = None
        with self._database.write() as connection:
            rows = outbox.claimed_heads(connection, limit)
            try:
                yield OutboxClaim(rows=rows, mark=lambda row, now: outbox.mark_sent(connection, row, now))
            except Transient as error:  # the bus is away: what was sent before stays marked
                stopped = error
        if stopped is not None:
            raise stopped

    def forget_sent(self, before: datetime) -> None:
        """Drops messages that were sent before this moment."""
        with self._database.write() as connection:
            connection.execute(delete(schema.outbox).where(schema.outbox.c.sent_at < before))

    def pending(self, emitted_before: datetime) -> list[PendingRequest]:
        """Requests of current versions without an outcome that were last sent before this moment."""
        asked = (
            select(schema.requests.c.body, schema.requests.c.emitted_at)
            .join(schema.studies, schema.studies.c.study == schema.requests.c.study)
            .where(
                schema.requests.c.status == PENDING,
                schema.requests.c.version == schema.studies.c.version,
                schema.requests.c.emitted_at < emitted_before,
            )
            .order_by(schema.requests.c.seq)
        )
        with self._database.read() as connection:
            return [
                PendingRequest(request=decode_request(row.body), emitted_at=row.emitted_at)
                for row in connection.execute(asked)
            ]
