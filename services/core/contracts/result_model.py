"""The one result of a study. JSON, PDF, SR and FHIR are renderings of it; none computes a number of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.core.contracts.enums import Completeness, Modality, Verdict
from services.core.contracts.facts import CompareFacts, MarkerFacts
from services.core.contracts.ids import PatientKey, RunId, StudyKey
from services.core.contracts.manifest import ModelRef, Reason

REPORT_SCHEMA = "glioserve.report.v1"
REPORT_MEDIA_TYPE = "application/vnd.glioserve.report+json"
REPORT_PDF_MEDIA_TYPE = "application/pdf"
SEGMENTATION_DICOM_MEDIA_TYPE = "application/dicom"
PROVENANCE_SCHEMA = "glioserve.provenance.v1"
PROVENANCE_MEDIA_TYPE = "application/vnd.glioserve.provenance+json"
DISCLAIMER = "Research use; synthetic training data; not for diagnosis."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBox:
    """A rectangle on a PDF page in points (1/72 inch); the origin is the page's lower left corner."""

    x: float
    y: float
    width: float
    height: float


PDF_PAGE_PT = (595.28, 841.89)
"""A4 upright: width and height of every report page, points."""
PDF_HEADER_BAND_PT = PageBox(x=42.5, y=791.0, width=510.28, height=34.0)
"""Kept empty on every report page: the patient's name is drawn here at download or delivery, never stored (rule 10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A series of the study as the reader should see it. Quality: log SNR, motion 0 to 1, slice thickness mm;
    None where it was not measured, and always when the result is insufficient.
    """

    series: str
    modality: Modality | None
    used: bool
    reason: str
    spacing_mm: tuple[float, ...] | None = None
    log_snr: float | None = None
    motion: float | None = None
    slice_thickness_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """`volumes_ml` is None when the result is insufficient: no number then. Keys: WT, TC, ET, NCR, SNFH, RC; a label
    that the networks do not know has no key.

    `lineage` is the digest over all manifests that the result rests on; `provenance.json` holds what it was taken over.
    """

    schema: str
    patient: PatientKey
    study: StudyKey
    version: int
    revision: int
    predecessor: RunId | None
    acquired_at: str | None
    completeness: Completeness
    verdict: Verdict
    reasons: tuple[Reason, ...]
    reference: Modality | None
    sequences: tuple[Sequence, ...]
    label_schema: str | None
    volumes_ml: Mapping[str, float] | None
    mean_vacuity: float | None
    markers: tuple[MarkerFacts, ...]
    who_2021: str | None
    comparison: CompareFacts | None
    models: tuple[ModelRef, ...]
    lineage: str | None = None
    disclaimer: str = DISCLAIMER
