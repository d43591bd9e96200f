"""An accepted upload as the store sees it, and how its study, its content and its manifest are named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Lane, Modality
from services.core.contracts.events import BlobRef, StudyRef
from services.core.contracts.facts import IntakeFacts, IntakeSeries, Source
from services.core.contracts.ids import PatientKey, RunId, StudyKey, derived_uuid
from services.core.contracts.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An image as stored: a DICOM instance, or a NIfTI file under its slot.

    `fingerprint` is the digest of pixels and geometry: equal ones are the same image, whatever the header says.
    """

    instance: str
    series: str
    slot: Modality | None
    fingerprint: str
    blob: BlobRef

    @property
    def output(self) -> str:
        """Its name among the outputs of the intake manifest."""
        return f"nifti/{self.slot}" if self.slot else f"instance/{self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What is known of a study beside its images; `acquired_at` is ISO 8601."""

    study: StudyKey
    patient: PatientKey
    source: Source
    study_uid: str | None
    acquired_at: str | None
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow(StudyFacts):
    """A study as it stands. Version 0: nothing was closed yet; `closes_at`: instances wait for the next version."""

    version: int
    closes_at: datetime | None
    created_at: datetime


def content_digest(fingerprints: Iterable[tuple[str, str]]) -> str:
    """Identity of a set of images without a StudyInstanceUID: their slots and fingerprints, in no order."""
    return derived_uuid("content", [list(pair) for pair in sorted(fingerprints)])


def study_key(patient: PatientKey, own_identity: str) -> StudyKey:
    """UUIDv5 of the patient's pseudonym and the StudyInstanceUID, or the content set's digest."""
    return StudyKey(derived_uuid("study", patient, own_identity))


def intake_manifest(facts: StudyRow, version: int, instances: Sequence[Instance], settings_hash: str) -> Manifest:
    """The gateway's manifest of a study version: what every later run begins with."""
    ordered = sorted(instances, key=lambda i: (i.series, i.instance))
    series = tuple(
        IntakeSeries(series=name, modality=members[0].slot, outputs=tuple(m.output for m in members))
        for name, members in ((name, list(group)) for name, group in groupby(ordered, key=lambda i: i.series))
    )
    stated = IntakeFacts(source=facts.source, study_uid=facts.study_uid, acquired_at=facts.acquired_at, series=series)
    contents = [[i.output, i.blob.digest] for i in ordered]
    run_id = RunId(derived_uuid("run", "intake", facts.study, version, contents, facts.acquired_at, settings_hash))
    return Manifest(
        run_id=run_id,
        stage="intake",
        study=StudyRef(patient=facts.patient, study=facts.study, version=version),
        lane=facts.lane,
        settings_hash=settings_hash,
        outputs={i.output: i.blob for i in ordered},
        facts=to_document(stated),
    )
