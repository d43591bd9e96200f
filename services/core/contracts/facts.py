"""What each stage states in its manifest, typed. `documents` turns these into the manifest's `facts` and back.

Affines are 4x4, row by row: voxel index (voxel centre) to RAS mm. Volumes are millilitres, dates ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from services.core.contracts.enums import Modality, SegmentStep
from services.core.contracts.ids import RunId, StudyKey

Matrix: TypeAlias = tuple[tuple[float, ...], ...]


class Source(StrEnum):
    """What a study came as."""

    DICOM = "dicom"
    NIFTI = "nifti"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSeries:
    """A series as accepted: its id (SeriesInstanceUID, or `nifti-<slot>`), the slot where the sender named it, and the
    names of its blobs among the manifest's outputs (`instance/<SOPInstanceUID>` or `nifti/<slot>`), in order.
    """

    series: str
    modality: Modality | None
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeFacts:
    """The gateway's own manifest of a study version, or the theatre's of one series. `anatomy_changed`: sequences that
    were acquired before it show what is not there any more (theatre only).
    """

    source: Source
    study_uid: str | None
    acquired_at: str | None
    series: tuple[IntakeSeries, ...]
    anatomy_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """A series after preparation. `to_reference` maps RAS mm of the series to RAS mm of the reference (rigid).

    `reason` says how it was identified, or why it is not used. Quality: log SNR, motion 0 to 1, slice thickness mm.
    `frame_of_reference`: series that share one lie as their headers say; empty for NIfTI.
    """

    series: str
    modality: Modality | None
    used: bool
    reason: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    log_snr: float | None = None
    motion: float | None = None
    slice_thickness_mm: float | None = None
    to_reference: Matrix | None = None
    frame_of_reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareFacts:
    """Outputs: `volume/<slot>` (float16, canonical 1 mm, z-score in brain), `brain_mask` (uint8, canonical 1 mm)
    and, for DICOM, `headers` (JSON: the pseudonymous header set of the reference series, one data set per instance).
    In the theatre `registration/<slot>`: acquired before the anatomy changed, no input of a network any more.
    """

    source: Source
    acquired_at: str | None
    reference: Modality
    reference_series: str
    native_shape: tuple[int, ...]
    native_affine: Matrix
    canonical_affine: Matrix
    brain_ml: float
    series: tuple[SeriesFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerEvidence:
    """Dirichlet evidence of the network for one marker, both >= 0; equal and small means that it does not know."""

    marker: str
    absent: float
    present: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFacts:
    """Outputs: `mask/canonical`, `vacuity/canonical` (uint8, 1 mm), `mask/native` and `mask/native.nii.gz` (uint8).

    The native ones lie on the grid of the reference sequence; volumes are theirs, per label and WT, TC, ET. A label
    that the networks were never taught has no volume. A coarse run adds `mask/coarse`, `vacuity/coarse` (uint8, 2 mm)
    and `evidence/<label>` (float16, 2 mm). The theatre's runs have no native ones: volumes are the canonical mask's.
    """

    label_schema: str
    step: SegmentStep
    volumes_ml: Mapping[str, float]
    used: tuple[Modality, ...]
    gates: Mapping[str, float]
    markers: tuple[MarkerEvidence, ...]
    mean_vacuity: float | None
    centroid_ras_mm: tuple[float, ...] | None


class Decision(StrEnum):
    """What is said about a marker. `abstained`: the evidence is too weak; `not_available`: it cannot be estimated."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    ABSTAINED = "abstained"
    NOT_AVAILABLE = "not_available"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerFacts:
    """One marker: calibrated probability that it is present (None when not available), decision and why."""

    marker: str
    decision: Decision
    probability: float | None
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtypeFacts:
    """Markers and the WHO-2021 wording that they allow."""

    markers: tuple[MarkerFacts, ...]
    who_2021: str
    calibration_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionChange:
    """A region now and then, ml; `change_percent` is None when the earlier volume was zero, or less than a voxel."""

    region: str
    prior_ml: float
    current_ml: float
    change_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFacts:
    """Comparison with the latest study acquired earlier; all prior fields are None at baseline."""

    statement: str
    prior_study: StudyKey | None = None
    prior_run: RunId | None = None
    prior_acquired_at: str | None = None
    interval_days: int | None = None
    changes: tuple[RegionChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """Outputs: `report.json`, `report.pdf`, `segmentation.nii.gz`, `provenance.json`; for DICOM `segmentation.dcm`."""

    revision: int
    predecessor: RunId | None
