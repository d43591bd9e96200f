"""Rows of the state database to records and back: the one converter of this edge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Row

from services.core.contracts.documents import from_document, to_document
from services.core.contracts.enums import Completeness, Lane, Modality, Verdict
from services.core.contracts.events import BlobRef, ManifestRef, StudyRef
from services.core.contracts.facts import Source
from services.core.contracts.ids import PatientKey, StudyKey
from services.core.contracts.wire import decode_outcome, decode_request
from services.gateway.domain.history import HistoryEvent, HistoryRow
from services.gateway.domain.intake import Instance, StudyRow
from services.gateway.domain.records import RequestRecord, StudyRecord
from services.gateway.ports import IntraoperativeRow, ResultRow

PENDING = "pending"


def study_row(row: Row[Any]) -> StudyRow:
    """A row of `studies`."""
    return StudyRow(
        study=StudyKey(row.study),
        patient=PatientKey(row.patient),
        source=Source(row.source),
        study_uid=row.study_uid,
        acquired_at=row.acquired_at,
        lane=Lane(row.lane),
        version=row.version,
        closes_at=row.closes_at,
        created_at=row.created_at,
    )


def study_records(studies: Iterable[Row[Any]], requests: Iterable[Row[Any]]) -> list[StudyRecord]:
    """Studies joined with the intake of their current version, and all their requests in order."""
    by_study: dict[str, list[RequestRecord]] = {}
    for row in requests:
        outcome = decode_outcome(row.outcome) if row.outcome is not None else None
        record = RequestRecord(request=decode_request(row.body), outcome=outcome, settled_at=row.settled_at)
        by_study.setdefault(row.study, []).append(record)
    return [
        StudyRecord(
            study=StudyKey(row.study),
            patient=PatientKey(row.patient),
            lane=Lane(row.lane),
            version=row.version,
            intake=manifest_from(row.intake),
            acquired_at=row.acquired_at,
            requests=tuple(by_study.get(row.study, ())),
        )
        for row in studies
    ]


def instance(row: Row[Any]) -> Instance:
    """A row of `instances`."""
    return Instance(
        instance=row.instance,
        series=row.series,
        slot=Modality(row.slot) if row.slot else None,
        fingerprint=row.fingerprint,
        blob=from_document(BlobRef, row.blob),
    )


def result_row(row: Row[Any]) -> ResultRow:
    """A row of `results`."""
    return ResultRow(
        study=StudyKey(row.study),
        version=row.version,
        revision=row.revision,
        manifest=manifest_from(row.manifest),
        completeness=Completeness(row.completeness),
        verdict=Verdict(row.verdict),
        outputs={name: from_document(BlobRef, blob) for name, blob in row.outputs.items()},
        created_at=row.created_at,
    )


def intraoperative_row(row: Row[Any]) -> IntraoperativeRow:
    """A row of `intraoperative`."""
    return IntraoperativeRow(
        study=StudyRef(patient=PatientKey(row.patient), study=StudyKey(row.study), version=row.version),
        manifest=manifest_from(row.manifest),
        completeness=Completeness(row.completeness),
        verdict=Verdict(row.verdict),
        acquired_at=row.acquired_at,
        created_at=row.created_at,
    )


def history_row(row: Row[Any]) -> HistoryRow:
    """A row of `history`."""
    return HistoryRow(
        seq=row.seq,
        study=StudyKey(row.study),
        version=row.version,
        event=HistoryEvent(row.event),
        detail=row.detail,
        at=row.at,
    )


def manifest_to(ref: ManifestRef) -> dict[str, Any]:
    """For a JSON column."""
    return cast("dict[str, Any]", to_document(ref))


def manifest_from(document: dict[str, Any]) -> ManifestRef:
    """From a JSON column."""
    return from_document(ManifestRef, document)
