"""The formats that need a library, as ports: the handler knows what they promise, the adapters know how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.core.contracts.ids import PatientKey, RunId
from services.core.contracts.manifest import ModelRef
from services.core.contracts.result_model import StudyResult
from services.core.imaging.volume import Volume
from services.reporting.domain.key_images import KeyImage


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationSource:
    """What a DICOM segmentation is made of. `run_id` and `models` are those of the segmentation run.

    `headers`: JSON array of DICOM JSON model data sets (PS3.18 F), one per instance of the reference series.
    """

    mask: Volume
    headers: bytes
    patient: PatientKey
    run_id: RunId
    models: tuple[ModelRef, ...]


class SegmentationWriter(Protocol):
    """Writes a mask as a DICOM object."""

    def write(self, source: SegmentationSource) -> bytes:
        """A DICOM file; equal sources give equal bytes. Raises OutputNotPossible with the reason."""


class ReportRenderer(Protocol):
    """Writes a result as a PDF."""

    def render(self, result: StudyResult, images: Sequence[Sequence[KeyImage]]) -> bytes:
        """An A4 document whose header band is empty on every page; equal results give equal bytes."""


class SheetPainter(Protocol):
    """Paints key images."""

    def __call__(self, images: Sequence[Sequence[KeyImage]]) -> bytes:
        """All rows as one PNG, for pages; equal images give equal bytes."""
