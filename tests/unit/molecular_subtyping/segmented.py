"""A segmentation manifest with chosen evidence, in a blob store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Lane, Marker, Modality, SegmentStep, Stage, Verdict
from services.core.contracts.events import ManifestRef, StudyRef
from services.core.contracts.facts import MarkerEvidence, SegmentFacts
from services.core.contracts.ids import PatientKey, RunId, StudyKey
from services.core.contracts.manifest import Manifest
from services.core.imaging.labels import LABEL_SCHEMA
from services.core.runtime.stage import store_manifest
from services.core.storage.port import BlobStore

STUDY = StudyRef(patient=PatientKey("patient-1"), study=StudyKey("study-1"), version=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmented:
    """Evidence (absent, present) by marker; what is not named has none."""

    evidence: Mapping[Marker, tuple[float, float]] = field(default_factory=dict)
    whole_ml: float = 31.0
    completeness: Completeness = Completeness.COMPLETE
    verdict: Verdict = Verdict.TRUSTED


def store_segmented(blobs: BlobStore, what: Segmented) -> ManifestRef:
    facts = SegmentFacts(
        label_schema=LABEL_SCHEMA,
        step=SegmentStep.BOTH,
        volumes_ml={"WT": what.whole_ml},
        used=(Modality.T1C,),
        gates={"t1c": 1.0},
        markers=tuple(
            MarkerEvidence(marker=marker, absent=absent, present=present)
            for marker, (absent, present) in (dict.fromkeys(Marker, (0.0, 0.0)) | dict(what.evidence)).items()
        ),
        mean_vacuity=0.1,
        centroid_ras_mm=(0.0, 0.0, 0.0),
    )
    manifest = Manifest(
        run_id=RunId("segment-run"),
        stage=Stage.SEGMENT,
        study=STUDY,
        lane=Lane.ROUTINE,
        settings_hash="s",
        completeness=what.completeness,
        verdict=what.verdict,
        facts=to_document(facts),
    )
    return store_manifest(blobs, "segment", manifest)
