"""Segmented studies of a patient with their preparations, in a blob store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.contracts.documents import to_document
from services.core.contracts.enums import STRUCTURAL, Completeness, Lane, Modality, SegmentStep, Stage, Verdict
from services.core.contracts.events import ManifestRef, StudyRef
from services.core.contracts.facts import PrepareFacts, SegmentFacts, Source
from services.core.contracts.ids import PatientKey, RunId, StudyKey
from services.core.contracts.manifest import Manifest, ModelRef
from services.core.imaging.labels import LABEL_SCHEMA
from services.core.runtime.stage import store_manifest
from services.core.storage.port import BlobStore

IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One study, as acquired, prepared and segmented."""

    study: str
    acquired_at: str | None
    volumes: Mapping[str, float] = field(default_factory=lambda: {"WT": 40.0, "TC": 10.0, "ET": 6.0})
    used: tuple[Modality, ...] = STRUCTURAL
    completeness: Completeness = Completeness.COMPLETE
    verdict: Verdict = Verdict.TRUSTED
    model: str = "sha256:a"
    schema: str = LABEL_SCHEMA
    patient: str = "patient-1"

    def ref(self) -> StudyRef:
        return StudyRef(patient=PatientKey(self.patient), study=StudyKey(self.study), version=1)


def store_visit(blobs: BlobStore, visit: Visit) -> tuple[ManifestRef, ManifestRef]:
    """The references of its segmentation and of its preparation."""
    prepare = store_manifest(blobs, "prepare", _prepared(visit))
    return store_manifest(blobs, "segment", _segmented(visit, prepare)), prepare


def _prepared(visit: Visit) -> Manifest:
    facts = PrepareFacts(
        source=Source.NIFTI,
        acquired_at=visit.acquired_at,
        reference=Modality.T1C,
        reference_series="nifti-t1c",
        native_shape=(10, 10, 10),
        native_affine=IDENTITY,
        canonical_affine=IDENTITY,
        brain_ml=1400.0,
        series=(),
    )
    return Manifest(
        run_id=RunId(f"prepare-{visit.study}"),
        stage=Stage.PREPARE,
        study=visit.ref(),
        lane=Lane.ROUTINE,
        settings_hash="s",
        facts=to_document(facts),
    )


def _segmented(visit: Visit, prepare: ManifestRef) -> Manifest:
    enough = visit.completeness is not Completeness.INSUFFICIENT
    facts = SegmentFacts(
        label_schema=visit.schema,
        step=SegmentStep.BOTH,
        volumes_ml=visit.volumes if enough else {},
        used=visit.used,
        gates={},
        markers=(),
        mean_vacuity=None,
        centroid_ras_mm=None,
    )
    return Manifest(
        run_id=RunId(f"segment-{visit.study}"),
        stage=Stage.SEGMENT,
        study=visit.ref(),
        lane=Lane.ROUTINE,
        settings_hash="s",
        completeness=visit.completeness,
        verdict=visit.verdict,
        inputs=(prepare,),
        models=(ModelRef(name="fusion_coarse", version="1", digest=visit.model),),
        facts=to_document(facts),
    )
