"""The pseudonymous header set of the reference series: what a DICOM SEG or SR needs, through an allow-list (rule 10).

Anything not named here stays behind, so a tag that nobody thought of cannot leak. No free text is on the list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydicom.dataset import Dataset

HEADERS_MEDIA_TYPE = "application/dicom+json"

ALLOWED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "InstanceNumber",
    "SeriesNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PatientPosition",
    "StudyDate",
    "StudyTime",
    "SeriesDate",
    "SeriesTime",
    "ContentDate",
    "ContentTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "PatientSex",
    "PatientAge",
)
_GEOMETRY = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "FrameContentSequence": ("DimensionIndexValues", "StackID", "InStackPositionNumber"),
}
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def header_set(datasets: Sequence[Dataset]) -> bytes:
    """A JSON array of DICOM JSON data sets (PS3.18 F), one an instance, in the given order."""
    return json.dumps([_reduced(dataset).to_json_dict() for dataset in datasets], separators=(",", ":")).encode()


def _reduced(dataset: Dataset) -> Dataset:
    kept = _copied(dataset, ALLOWED)
    for keyword in _GROUPS:
        groups = list(dataset.get(keyword, None) or ())
        if groups:
            setattr(kept, keyword, [_geometry(group) for group in groups])
    return kept


def _geometry(group: Dataset) -> Dataset:
    kept = Dataset()
    for keyword, allowed in _GEOMETRY.items():
        items = list(group.get(keyword, None) or ())
        if items:
            setattr(kept, keyword, [_copied(item, allowed) for item in items])
    return kept


def _copied(dataset: Dataset, allowed: Sequence[str]) -> Dataset:
    kept = Dataset()
    for keyword in allowed:
        if dataset.get(keyword, None) not in (None, ""):
            setattr(kept, keyword, dataset.get(keyword))
    return kept
