"""Rows of the intake: studies, accepted instances, versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from services.core.contracts.documents import to_document
from services.core.contracts.ids import StudyKey
from services.gateway.adapters import schema
from services.gateway.adapters.rows import instance, study_row
from services.gateway.domain.intake import Instance, StudyFacts, StudyRow

_NAMES_AT_ONCE = 500
"""Databases limit the parameters of a statement."""


class IntakeRows:
    """The intake's part of a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._rows = connection

    def study(self, study: StudyKey) -> StudyRow | None:
        """The study as it stands, or None."""
        row = self._rows.execute(select(schema.studies).where(schema.studies.c.study == study)).first()
        return study_row(row) if row else None

    def add_study(self, facts: StudyFacts, now: datetime) -> StudyRow:
        """Opens a study at version 0."""
        values: dict[str, Any] = {
            "study": facts.study,
            "patient": facts.patient,
            "source": facts.source,
            "study_uid": facts.study_uid,
            "acquired_at": facts.acquired_at,
            "lane": facts.lane,
        }
        self._rows.execute(insert(schema.studies).values(version=0, created_at=now, **values))
        return StudyRow(version=0, closes_at=None, created_at=now, **values)

    def instances(self, study: StudyKey) -> list[Instance]:
        """Everything accepted so far, closed or not."""
        asked = select(schema.instances).where(schema.instances.c.study == study)
        return [instance(row) for row in self._rows.execute(asked)]

    def fingerprints(self, study: StudyKey, instances: Sequence[str]) -> dict[str, str]:
        """Of these instances those that are accepted, with their fingerprints."""
        table, found = schema.instances.c, {}
        for start in range(0, len(instances), _NAMES_AT_ONCE):
            asked = table.instance.in_(instances[start : start + _NAMES_AT_ONCE])
            rows = self._rows.execute(select(table.instance, table.fingerprint).where(table.study == study, asked))
            found.update({row.instance: row.fingerprint for row in rows})
        return found

    def open_instances(self, study: StudyKey) -> int:
        """How many accepted instances are in no version yet."""
        mine = (schema.instances.c.study == study) & schema.instances.c.version.is_(None)
        return self._rows.scalar(select(func.count()).select_from(schema.instances).where(mine)) or 0

    def add_instances(self, study: StudyKey, found: Sequence[Instance], door: str, now: datetime) -> None:
        """Adds instances that are not there yet."""
        rows = [
            {
                "study": study,
                "instance": item.instance,
                "series": item.series,
                "slot": item.slot,
                "fingerprint": item.fingerprint,
                "blob": to_document(item.blob),
                "door": door,
                "accepted_at": now,
            }
            for item in found
        ]
        if rows:
            self._rows.execute(insert(schema.instances), rows)

    def set_acquired_at(self, study: StudyKey, moment: str | None) -> None:
        """When the study was acquired, ISO 8601."""
        mine = schema.studies.c.study == study
        self._rows.execute(update(schema.studies).where(mine).values(acquired_at=moment))

    def close_at(self, study: StudyKey, moment: datetime | None) -> None:
        """When the study closes by itself; None: it does not."""
        self._rows.execute(update(schema.studies).where(schema.studies.c.study == study).values(closes_at=moment))

    def count_into_version(self, study: StudyKey, version: int) -> int:
        """Puts the open instances into a version; gives the number of all instances."""
        mine = schema.instances.c.study == study
        opened = mine & schema.instances.c.version.is_(None)
        self._rows.execute(update(schema.instances).where(opened).values(version=version))
        return self._rows.scalar(select(func.count()).select_from(schema.instances).where(mine)) or 0
