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
DISCLAIMER = "Research use; synthetic training data; not for diagnosis."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A series of the study as the reader should see it."""

    series: str
    modality: Modality | None
    used: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """`volumes_ml` is None when the result is insufficient: no number then. Keys: WT, TC, ET, NCR, SNFH, RC."""

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
    disclaimer: str = DISCLAIMER
