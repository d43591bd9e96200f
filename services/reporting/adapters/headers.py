"""The header set of the reference series as source images for a DICOM object, reduced to an allow-list (rule 10).

Preprocessing stores it as a JSON array of DICOM JSON model data sets (PS3.18 F): one per instance, or a single one with
functional groups for a multi-frame instance. The patient is the pseudonym, whatever the headers say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from services.core.contracts.ids import PatientKey
from services.reporting.domain.planes import Plane, slice_order
from services.reporting.errors import OutputNotPossible

_NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
)
_KEPT = (
    *_NEEDED,
    "Modality",
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
_EMPTY = ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyID", "ReferringPhysicianName")
_EMPTY_IF_ABSENT = ("PatientSex", "StudyDate", "StudyTime")
_SAME = 1e-4  # headers round direction cosines and spacings
_MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceImages:
    """Data sets without pixels, and the plane of each frame: as many as the images, or the frames of the only one."""

    images: tuple[Dataset, ...]
    planes: tuple[Plane, ...]


def source_images(headers: bytes, patient: PatientKey) -> SourceImages:
    """Single-frame images in the order of their slices, or one multi-frame image in the order of its frames.

    Raises OutputNotPossible when something that a DICOM object must refer to is missing.
    """
    try:
        found = [Dataset.from_json(dict(document)) for document in json.loads(headers)]
    except (ValueError, TypeError, KeyError) as error:
        raise _not_possible(f"the headers cannot be read ({type(error).__name__})") from error
    if not found:
        raise _not_possible("there are no headers of the reference series")
    if "PerFrameFunctionalGroupsSequence" in found[0]:
        if len(found) > 1:
            raise _not_possible("the reference series has several multi-frame instances")
        return _multi_frame(found[0], patient)
    images = [_image(header, patient) for header in found]
    for image, header in zip(images, found, strict=True):
        _copy(header, image, ("ImagePositionPatient", "ImageOrientationPatient", *_MEASURES))
    planes = [_plane(image, (image,)) for image in images]
    order = slice_order(planes)
    return SourceImages(images=tuple(images[i] for i in order), planes=tuple(planes[i] for i in order))


def _multi_frame(header: Dataset, patient: PatientKey) -> SourceImages:
    """Functional groups reduced to geometry: orientation and measures of the first frame, positions of each."""
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    frames = [(frame, shared[0]) for frame in header.PerFrameFunctionalGroupsSequence]
    planes = tuple(_plane(header, _macros(groups)) for groups in frames)
    if not all(np.allclose(_direction(plane), _direction(planes[0]), atol=_SAME) for plane in planes):
        raise _not_possible("the frames of the reference series differ in direction or spacing")
    image = _image(header, patient)
    image.NumberOfFrames = len(planes)
    measures, orientation = Dataset(), Dataset()
    for macro in _macros(frames[0]):
        _copy(macro, measures, _MEASURES)
    orientation.ImageOrientationPatient = [*planes[0].along_row, *planes[0].along_column]
    shape = Dataset()
    shape.PixelMeasuresSequence, shape.PlaneOrientationSequence = [measures], [orientation]
    image.SharedFunctionalGroupsSequence = [shape]
    image.PerFrameFunctionalGroupsSequence = [_position(plane) for plane in planes]
    return SourceImages(images=(image,), planes=planes)


def _direction(plane: Plane) -> tuple[float, ...]:
    return (*plane.along_row, *plane.along_column, *plane.spacing_mm)


def _position(plane: Plane) -> Dataset:
    frame, position = Dataset(), Dataset()
    position.ImagePositionPatient = list(plane.position)
    frame.PlanePositionSequence = [position]
    return frame


def _macros(groups: Iterable[Dataset]) -> tuple[Dataset, ...]:
    """The geometry macros of a frame: its own before the shared ones."""
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    return tuple(group[name][0] for group in groups for name in names if name in group)


def _image(header: Dataset, patient: PatientKey) -> Dataset:
    missing = [keyword for keyword in _NEEDED if header.get(keyword) in (None, "")]
    if missing:
        raise _not_possible(f"the headers lack {', '.join(missing)}")
    image = Dataset()
    _copy(header, image, _KEPT)
    image.PatientID = patient
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*_EMPTY, *(name for name in _EMPTY_IF_ABSENT if name not in image)):
        setattr(image, keyword, "")
    if "Modality" not in image:
        image.Modality = "MR"
    return image


def _copy(source: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if keyword in source and keyword not in target:
            setattr(target, keyword, source[keyword].value)


def _plane(header: Dataset, macros: Iterable[Dataset]) -> Plane:
    geometry = Dataset()
    for macro in macros:
        _copy(macro, geometry, ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    if len(geometry) < 3:
        raise _not_possible("the headers lack the geometry of a frame")
    x, y, z = (float(value) for value in geometry.ImagePositionPatient)
    cosines = [float(value) for value in geometry.ImageOrientationPatient]
    between_rows, between_columns = (float(value) for value in geometry.PixelSpacing)
    return Plane(
        position=(x, y, z),
        along_row=(cosines[0], cosines[1], cosines[2]),
        along_column=(cosines[3], cosines[4], cosines[5]),
        spacing_mm=(between_rows, between_columns),
        shape=(int(header.Rows), int(header.Columns)),
    )


def _not_possible(detail: str) -> OutputNotPossible:
    return OutputNotPossible("SEG_NO_HEADERS", f"The DICOM segmentation was not written: {detail}.")
