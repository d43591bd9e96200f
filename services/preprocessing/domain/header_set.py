"""The pseudonymous header set of the reference series: what a DICOM SEG or SR needs, through an allow-list (rule 10).

Anything not named here stays behind, so a tag that nobody thought of cannot leak. No free text is on the list, and what
is not a number must have the form that PS3.5 6.2 gives it: scanners and exports write anything anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pydicom.dataset import Dataset

HEADERS_MEDIA_TYPE = "application/dicom+json"

ALLOWED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
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
    "FrameContentSequence": ("DimensionIndexValues", "InStackPositionNumber"),
}
_UID, _DATE, _TIME, _CODE = r"[0-9.]{1,64}", r"\d{8}", r"[\d.]{2,16}", r"[A-Z]{1,4}"
_FORMS = {
    **{name: re.compile(_UID) for name in ALLOWED if name.endswith("UID")},
    **{name: re.compile(_DATE) for name in ALLOWED if name.endswith("Date")},
    **{name: re.compile(_TIME) for name in ALLOWED if name.endswith("Time")},
    **{name: re.compile(_CODE) for name in ("Modality", "PatientPosition")},
    "PatientSex": re.compile("[MFO]"),
    "PatientAge": re.compile(r"\d{3}[DWMY]"),
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
        value = dataset.get(keyword, None)
        if value not in (None, "") and (keyword not in _FORMS or _FORMS[keyword].fullmatch(str(value))):
            setattr(kept, keyword, value)
    return kept
