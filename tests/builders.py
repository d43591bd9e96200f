"""Small manifests of every stage with blobs behind them, for tests of one stage without the stages before it.

The head is an ellipsoid with a nested lesion: enough for geometry, volumes and pictures, far too simple to train on.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Lane, Modality, OutcomeStatus, SegmentStep, Stage, Verdict
from services.core.contracts.events import BlobRef, ManifestRef, Problem, StageRequest, StudyRef
from services.core.contracts.facts import (
    CompareFacts,
    Decision,
    IntakeFacts,
    IntakeSeries,
    MarkerEvidence,
    MarkerFacts,
    PrepareFacts,
    RegionChange,
    SegmentFacts,
    SeriesFacts,
    Source,
    SubtypeFacts,
)
from services.core.contracts.ids import JsonValue, PatientKey, RequestId, RunId, StudyKey, derived_uid, derived_uuid
from services.core.contracts.manifest import Manifest, ModelRef, Reason
from services.core.imaging.canonical import canonical_grid
from services.core.imaging.codec import VOLUME_MEDIA_TYPE, encode_volume
from services.core.imaging.labels import LABEL_SCHEMA, Label, volumes_ml
from services.core.imaging.volume import Affine, Grid, Volume
from services.core.runtime.stage import store_manifest
from services.core.storage.port import BlobStore

STUDY = StudyRef(
    patient=PatientKey("5f0c9a1e7b3d4826ac10f7e2d95b6c43"),
    study=StudyKey("0b7c1d9e-53f2-5a86-9d1c-2f6f0d3a8e11"),
    version=1,
)
ACQUIRED = "2024-03-05T10:15:00"
MODELS = (
    ModelRef(name="fusion_coarse", version="1", digest="sha256:" + "1f" * 32),
    ModelRef(name="fusion_fine", version="1", digest="sha256:" + "2e" * 32),
)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """One synthetic head. `centre` and `radius_mm`: of its lesion, RAS mm; radius 0: none."""

    canonical: Grid = field(default_factory=lambda: canonical_grid(np.zeros(3), 4.0))
    native: Grid = field(default_factory=lambda: native_grid((30, 36, 14), (6.0, 6.0, 10.0)))
    centre: tuple[float, float, float] = (32.0, -18.0, 24.0)
    radius_mm: float = 26.0

    def brain(self) -> Volume:
        """1 in the brain, uint8, canonical."""
        return Volume(data=self._inside(self.canonical), affine=self.canonical.affine, modality="brain_mask", units="1")

    def mask(self, grid: Grid) -> Volume:
        """Labels on a grid: necrosis within enhancing tissue within oedema."""
        distance = self._distance(grid)
        labels = np.zeros(grid.shape, np.uint8)
        if self.radius_mm > 0:
            for label, share in ((Label.SNFH, 1.0), (Label.ET, 0.6), (Label.NCR, 0.35)):
                labels[distance < share * self.radius_mm] = label
        labels *= self._inside(grid)
        return Volume(data=labels, affine=grid.affine, modality="mask", units="label")

    def sequence(self, modality: Modality, seed: int = 0) -> Volume:
        """Float16, canonical, roughly z-scored."""
        noise = np.random.default_rng(seed).normal(0, 0.15, self.canonical.shape)
        x, y, z = _coordinates(self.canonical)
        tissue = np.cos(x / 9) * np.cos(y / 11) * np.cos(z / 10) * 0.7
        ventricles = ((np.abs(x) - 9) / 6) ** 2 + ((y - 2) / 24) ** 2 + ((z - 8) / 12) ** 2 < 1
        bright = {Label.NCR: -1.5, Label.ET: 2.5, Label.SNFH: -0.6}
        if modality is Modality.T2F:
            bright = {Label.NCR: 0.2, Label.ET: 1.2, Label.SNFH: 2.2}
        data = (tissue + noise) * (1 - ventricles) - 1.6 * ventricles
        labels = self.mask(self.canonical).data
        for label, value in bright.items():
            data = np.where(labels == label, value + noise, data)
        data = np.where(self._inside(self.canonical) > 0, data, -3.0)
        return Volume(data=data.astype(np.float16), affine=self.canonical.affine, modality=modality, units="a.u.")

    def _distance(self, grid: Grid) -> NDArray[np.float64]:
        x, y, z = _coordinates(grid)
        a, b, c = self.centre
        distance: NDArray[np.float64] = np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2)
        return distance

    def _inside(self, grid: Grid) -> NDArray[np.uint8]:
        x, y, z = _coordinates(grid)
        inside: NDArray[np.uint8] = ((x / 66) ** 2 + (y / 84) ** 2 + (z / 62) ** 2 < 1).astype(np.uint8)
        return inside


def native_grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    """The grid of an axial DICOM series around the origin: x to the left, y to the back, z up."""
    affine: Affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape=shape, affine=affine)


def dicom_headers(grid: Grid, **extra: object) -> bytes:
    """The header set of a series on the grid: columns along x, rows along y, one instance per z; `extra` in each."""
    lps = LPS @ grid.affine
    spacing = grid.spacing
    cosines = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
    documents = []
    for index in range(grid.shape[2]):
        header = Dataset()
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        header.SOPInstanceUID = derived_uid("instance", index)
        header.StudyInstanceUID = derived_uid("study")
        header.SeriesInstanceUID = derived_uid("series")
        header.FrameOfReferenceUID = derived_uid("frame")
        header.Modality, header.Rows, header.Columns = "MR", grid.shape[1], grid.shape[0]
        header.PixelSpacing = [spacing[1], spacing[0]]
        header.SliceThickness = spacing[2]
        header.ImageOrientationPatient = [round(float(value), 6) for value in cosines]
        position = lps[:3, 3] + index * lps[:3, 2]
        header.ImagePositionPatient = [round(float(value), 4) for value in position]
        header.StudyDate, header.StudyTime = "20240305", "101500"
        for keyword, value in extra.items():
            setattr(header, keyword, value)
        documents.append(header.to_json_dict())
    return json.dumps(documents).encode()


def marker_facts() -> SubtypeFacts:
    """Four markers: one decided either way, one abstained, one not available."""
    texts = (
        ("idh", Decision.NEGATIVE, 0.07, "The evidence speaks against an IDH mutation."),
        ("codel_1p19q", Decision.ABSTAINED, 0.41, "The evidence is too weak to decide."),
        ("mgmt", Decision.NOT_AVAILABLE, None, "Images do not carry this marker."),
        ("h3k27m", Decision.POSITIVE, 0.93, "The evidence speaks for an H3 K27M alteration."),
    )
    markers = tuple(MarkerFacts(marker=m, decision=d, probability=p, statement=s) for m, d, p, s in texts)
    return SubtypeFacts(
        markers=markers,
        who_2021="Compatible with a diffuse glioma, IDH-wildtype; tissue is needed.",
        calibration_version="1",
    )


BASELINE = CompareFacts(statement="Baseline: there is no earlier study of this patient.")


def followed_up(region_ml: Mapping[str, tuple[float, float]]) -> CompareFacts:
    """A comparison with a study 90 days earlier; values are (then, now)."""
    changes = tuple(
        RegionChange(
            region=name, prior_ml=then, current_ml=now, change_percent=100 * (now - then) / then if then else None
        )
        for name, (then, now) in region_ml.items()
    )
    return CompareFacts(
        statement="The enhancing tumour grew since the study of 2023-12-06, 90 days earlier.",
        prior_study=StudyKey(derived_uuid("prior")),
        prior_run=RunId(derived_uuid("prior run")),
        prior_acquired_at="2023-12-06T09:00:00",
        interval_days=90,
        changes=changes,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shelf:
    """Builds manifests of one study and stores them with their blobs."""

    blobs: BlobStore
    head: Head = field(default_factory=Head)
    source: Source = Source.DICOM
    study: StudyRef = STUDY

    def intake(self) -> ManifestRef:
        """The gateway's manifest: one series, no instance behind it."""
        facts = IntakeFacts(
            source=self.source,
            study_uid=derived_uid("study"),
            acquired_at=ACQUIRED,
            series=(IntakeSeries(series=derived_uid("series"), modality=None, outputs=()),),
        )
        return self.store("intake", to_document(facts))

    def prepare(
        self,
        *,
        modalities: Sequence[Modality] = (Modality.T1C, Modality.T2F),
        headers: bytes | None = None,
        series: Sequence[SeriesFacts] | None = None,
        completeness: Completeness = Completeness.COMPLETE,
        reasons: tuple[Reason, ...] = (),
    ) -> ManifestRef:
        """Canonical sequences, brain mask and, for DICOM, headers of the native grid."""
        native = self.head.native
        outputs = {f"volume/{m}": self._volume(self.head.sequence(m, n)) for n, m in enumerate(modalities)}
        outputs["brain_mask"] = self._volume(self.head.brain())
        if self.source is Source.DICOM:
            outputs["headers"] = self.blobs.put(headers or dicom_headers(native), "application/dicom+json")
        facts = PrepareFacts(
            source=self.source,
            acquired_at=ACQUIRED,
            reference=modalities[0],
            reference_series=derived_uid("series"),
            native_shape=native.shape,
            native_affine=_rows(native.affine),
            canonical_affine=_rows(self.head.canonical.affine),
            brain_ml=1400.0,
            series=tuple(series or (series_facts(m, native) for m in modalities)),
        )
        return self.store("prepare", to_document(facts), outputs, completeness=completeness, reasons=reasons)

    def segment(
        self,
        *,
        completeness: Completeness = Completeness.COMPLETE,
        verdict: Verdict = Verdict.TRUSTED,
        reasons: tuple[Reason, ...] = (),
    ) -> ManifestRef:
        """Masks of the head, their volumes and weak marker evidence."""
        native, canonical = self.head.mask(self.head.native), self.head.mask(self.head.canonical)
        outputs = {
            "mask/native": self._volume(native),
            "mask/canonical": self._volume(canonical),
            "vacuity/canonical": self._volume(canonical.with_data(np.full_like(canonical.data, 30))),
            "mask/native.nii.gz": self.blobs.put(nifti_bytes(native), "application/gzip"),
        }
        found = bool(native.data.any())
        facts = SegmentFacts(
            label_schema=LABEL_SCHEMA,
            step=SegmentStep.BOTH,
            volumes_ml=volumes_ml(native.data, native.grid),
            used=(Modality.T1C, Modality.T2F),
            gates={"t1c": 0.6, "t2f": 0.4},
            markers=(MarkerEvidence(marker="idh", absent=3.0, present=1.0),),
            mean_vacuity=0.12 if found else None,
            centroid_ras_mm=self.head.centre if found else None,
        )
        return self.store(
            "segment",
            to_document(facts),
            outputs,
            completeness=completeness,
            verdict=verdict,
            reasons=reasons,
            models=MODELS,
        )

    def subtype(self, facts: SubtypeFacts | None = None) -> ManifestRef:
        """Markers."""
        return self.store("subtype", to_document(facts or marker_facts()))

    def compare(self, facts: CompareFacts = BASELINE) -> ManifestRef:
        """Baseline, or a change."""
        return self.store("compare", to_document(facts))

    def store(
        self,
        role: str,
        facts: Mapping[str, JsonValue],
        outputs: Mapping[str, BlobRef] | None = None,
        *,
        completeness: Completeness = Completeness.COMPLETE,
        verdict: Verdict = Verdict.TRUSTED,
        reasons: tuple[Reason, ...] = (),
        models: tuple[ModelRef, ...] = (),
    ) -> ManifestRef:
        """A manifest under a run id of its own content."""
        digests: list[JsonValue] = [str(ref.digest) for _, ref in sorted((outputs or {}).items())]
        states: list[JsonValue] = [completeness, verdict, [reason.code for reason in reasons]]
        manifest = Manifest(
            run_id=RunId(derived_uuid("run of a test", role, self.study.study, facts, digests, states)),
            stage="intake" if role == "intake" else Stage(role),
            study=self.study,
            lane=Lane.ROUTINE,
            settings_hash="ab" * 32,
            completeness=completeness,
            verdict=verdict,
            outputs=outputs or {},
            reasons=reasons,
            models=models,
            facts=facts,
        )
        return store_manifest(self.blobs, role, manifest)

    def _volume(self, volume: Volume) -> BlobRef:
        return self.blobs.put(encode_volume(volume), VOLUME_MEDIA_TYPE)


def series_facts(modality: Modality | None, grid: Grid, reason: str = "identified from its header") -> SeriesFacts:
    """A good series on a grid; without a modality one that is not used."""
    return SeriesFacts(
        series=derived_uid("series of", str(modality)),
        modality=modality,
        used=modality is not None,
        reason=reason,
        shape=grid.shape,
        spacing_mm=grid.spacing,
        log_snr=3.4,
        motion=0.05,
        slice_thickness_mm=grid.spacing[2],
    )


def report_request(
    inputs: Sequence[ManifestRef], *, problems: Sequence[Problem] = (), revision: int = 1, study: StudyRef = STUDY
) -> StageRequest:
    """A request for a report over these manifests."""
    return StageRequest(
        request_id=RequestId(derived_uuid("request of a test", revision)),
        stage=Stage.REPORT,
        study=study,
        lane=Lane.ROUTINE,
        inputs=tuple(inputs),
        requested_at=datetime(2024, 3, 5, 11, 0, tzinfo=UTC),
        revision=revision,
        problems=tuple(problems),
    )


def failed(stage: Stage, code: str = "BROKEN", message: str = "the stage gave up", advice: str = "") -> Problem:
    """A stage that failed."""
    return Problem(stage=stage, status=OutcomeStatus.FAILED, code=code, message=message, advice=advice)


def nifti_bytes(volume: Volume) -> bytes:
    """A volume as .nii.gz."""
    image = nib.Nifti1Image(volume.data, volume.affine)
    return gzip.compress(image.to_bytes(), mtime=0)


def _coordinates(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    indices = np.stack([*np.indices(grid.shape), np.ones(grid.shape)])
    x, y, z, _ = np.tensordot(grid.affine, indices, axes=1)
    return x, y, z


def _rows(affine: Affine) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in affine)
