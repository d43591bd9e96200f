"""The image planes of an instance: one of a classic MR image, many of an enhanced one (PS3.3 C.7.6.2, C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from services.core.contracts.errors import Refused
from services.core.imaging.dicom_header import frames_of, text

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image plane, LPS mm. `spacing`: between rows, between columns. `thickness`, `spacing_between`: 0 = unknown.

    `file` and `index` say where its pixels are; real value = stored value * slope + intercept.
    """

    file: int
    index: int
    rows: int
    columns: int
    position: Three
    along_row: Three
    along_column: Three
    spacing: tuple[float, float]
    thickness: float
    spacing_between: float
    slope: float
    intercept: float

    @property
    def orientation(self) -> tuple[float, ...]:
        """The six direction cosines."""
        return self.along_row + self.along_column

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the plane."""
        return np.cross(self.along_row, self.along_column)


def frames_of_file(number: int, dataset: Dataset) -> Iterator[Frame]:
    """The frames of instance `number` of a series. Raises Refused (CONTRADICTORY_HEADER) on a missing geometry."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence", None)
    if per_frame is None:
        if frames_of(dataset) != 1:
            raise Refused("CONTRADICTORY_HEADER", "an image of several frames does not say where they lie")
        yield _frame(number, 0, dataset, [dataset])
        return
    if len(per_frame) != frames_of(dataset):
        raise Refused("CONTRADICTORY_HEADER", f"{len(per_frame)} frame descriptions for {frames_of(dataset)} frames")
    shared = list(dataset.get("SharedFunctionalGroupsSequence", None) or ())[:1]
    for index, group in enumerate(per_frame):
        yield _frame(number, index, dataset, [*_macros(group), *(m for s in shared for m in _macros(s))])


def frame_kinds(dataset: Dataset) -> Iterator[Dataset]:
    """Everything that may hold a frame's attributes: the instance, then its functional groups' macros."""
    yield dataset
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(keyword, None) or ())[:1]:
            yield from _macros(group)


_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "MRTimingAndRelatedParametersSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRImageFrameTypeSequence",
    "MRDiffusionSequence",
)


def _macros(group: Dataset) -> Iterator[Dataset]:
    for keyword in _MACROS:
        yield from list(group.get(keyword, None) or ())[:1]


def _frame(number: int, index: int, dataset: Dataset, sources: list[Dataset]) -> Frame:
    position = _numbers(sources, "ImagePositionPatient", 3)
    cosines = _numbers(sources, "ImageOrientationPatient", 6)
    spacing = _numbers(sources, "PixelSpacing", 2)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > 1e-2 or abs(float(row @ column)) > 1e-3:
        raise Refused("CONTRADICTORY_HEADER", "the image orientation is no pair of perpendicular directions")
    row, column = row / lengths[0], column / lengths[1]
    return Frame(
        file=number,
        index=index,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=(position[0], position[1], position[2]),
        along_row=(float(row[0]), float(row[1]), float(row[2])),
        along_column=(float(column[0]), float(column[1]), float(column[2])),
        spacing=(spacing[0], spacing[1]),
        thickness=_number(sources, "SliceThickness", 0.0),
        spacing_between=_number(sources, "SpacingBetweenSlices", 0.0),
        slope=_number(sources, "RescaleSlope", 1.0) or 1.0,
        intercept=_number(sources, "RescaleIntercept", 0.0),
    )


def _numbers(sources: list[Dataset], keyword: str, count: int) -> list[float]:
    found = next((source.get(keyword) for source in sources if source.get(keyword, None) is not None), None)
    values = [float(value) for value in found] if found is not None and not isinstance(found, str) else []
    if len(values) != count or not np.isfinite(values).all():
        raise Refused("CONTRADICTORY_HEADER", f"{keyword} is missing or malformed", "Send original MR images.")
    return values


def _number(sources: list[Dataset], keyword: str, default: float) -> float:
    found = next((text(source, keyword) for source in sources if text(source, keyword)), "")
    value = float(found) if found else default
    if not np.isfinite(value):
        raise Refused("CONTRADICTORY_HEADER", f"{keyword} is not a number")
    return value
