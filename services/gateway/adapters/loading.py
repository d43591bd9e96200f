"""Loads studies with all their requests, for the state machine and for views."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select

from services.gateway.adapters import schema
from services.gateway.adapters.rows import study_records
from services.gateway.domain.records import StudyRecord


def load_studies(connection: Connection, which: ColumnElement[bool]) -> list[StudyRecord]:
    """Studies that have a version and fulfil a condition on `studies`, each with the requests of all its versions."""
    studies = (
        select(schema.studies, schema.versions.c.intake)
        .join(
            schema.versions,
            (schema.versions.c.study == schema.studies.c.study)
            & (schema.versions.c.version == schema.studies.c.version),
        )
        .where(which)
        .order_by(schema.studies.c.study)
    )
    requests = (
        select(schema.requests)
        .join(schema.studies, schema.studies.c.study == schema.requests.c.study)
        .where(which)
        .order_by(schema.requests.c.seq)
    )
    return study_records(connection.execute(studies), connection.execute(requests))
