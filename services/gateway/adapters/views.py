"""What the HTTP door reads: studies, history, results. Reads only, never waits for a writer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from services.core.contracts.ids import StudyKey
from services.gateway.adapters import schema
from services.gateway.adapters.database import Database
from services.gateway.adapters.loading import load_studies
from services.gateway.adapters.rows import history_row, intraoperative_row, result_row, study_row
from services.gateway.domain.history import HistoryRow
from services.gateway.domain.view import state_of
from services.gateway.ports import IntraoperativeRow, ResultRow, StudyView, VersionRow


class SqlViews:
    """Adapter of `ports.Views`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def study(self, study: StudyKey) -> StudyView | None:
        """One study, or None."""
        with self._database.read() as connection:
            found = self._studies(connection, [study])
        return found[0] if found else None

    def studies(self, limit: int, before: datetime | None = None) -> list[StudyView]:
        """The newest studies, or those opened before a moment."""
        asked = select(schema.studies.c.study).order_by(schema.studies.c.created_at.desc(), schema.studies.c.study)
        if before is not None:
            asked = asked.where(schema.studies.c.created_at < before)
        with self._database.read() as connection:
            return self._studies(connection, [StudyKey(key) for key in connection.scalars(asked.limit(limit))])

    def versions(self, study: StudyKey) -> list[VersionRow]:
        """All versions, oldest first."""
        asked = select(schema.versions).where(schema.versions.c.study == study).order_by(schema.versions.c.version)
        with self._database.read() as connection:
            return [
                VersionRow(version=row.version, instances=row.instances, created_at=row.created_at)
                for row in connection.execute(asked)
            ]

    def history(self, study: StudyKey, after: int = 0) -> list[HistoryRow]:
        """Rows of the history, oldest first."""
        mine = (schema.history.c.study == study) & (schema.history.c.seq > after)
        with self._database.read() as connection:
            rows = connection.execute(select(schema.history).where(mine).order_by(schema.history.c.seq))
            return [history_row(row) for row in rows]

    def intraoperative(self, study: StudyKey) -> list[IntraoperativeRow]:
        """Masks of the operating room, oldest first."""
        table = schema.intraoperative
        asked = select(table).where(table.c.study == study).order_by(table.c.created_at, table.c.run_id)
        with self._database.read() as connection:
            return [intraoperative_row(row) for row in connection.execute(asked)]

    def last_change(self, study: StudyKey) -> int:
        """Number of the newest history row; 0 when there is none."""
        asked = select(func.max(schema.history.c.seq)).where(schema.history.c.study == study)
        with self._database.read() as connection:
            return connection.scalar(asked) or 0

    def state_counts(self) -> dict[str, int]:
        """How many studies are in which state, of the newest thousand."""
        counts: dict[str, int] = {}
        for view in self.studies(1000):
            state = state_of(view.row, view.record)
            counts[state] = counts.get(state, 0) + 1
        return counts

    def _studies(self, connection: Connection, keys: list[StudyKey]) -> list[StudyView]:
        chosen = schema.studies.c.study.in_(keys)
        rows = {row.study: study_row(row) for row in connection.execute(select(schema.studies).where(chosen))}
        records = {record.study: record for record in load_studies(connection, chosen)}
        changes = (
            select(schema.history.c.study, func.max(schema.history.c.seq).label("seq"))
            .where(schema.history.c.study.in_(keys))
            .group_by(schema.history.c.study)
        )
        seqs = {row.study: row.seq for row in connection.execute(changes)}
        results = _current_results(connection, keys)
        return [
            StudyView(row=rows[key], record=records.get(key), result=results.get(key), last_change=seqs.get(key, 0))
            for key in keys
            if key in rows
        ]


def _current_results(connection: Connection, keys: list[StudyKey]) -> dict[str, ResultRow]:
    """Of each study the highest revision of the current version."""
    asked = (
        select(schema.results)
        .join(schema.studies, schema.studies.c.study == schema.results.c.study)
        .where(schema.results.c.study.in_(keys), schema.results.c.version == schema.studies.c.version)
        .order_by(schema.results.c.revision)
    )
    return {row.study: result_row(row) for row in connection.execute(asked)}
