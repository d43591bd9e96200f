"""A DICOM MR series as one volume: frames sorted along their normal, geometry checked, LPS turned into RAS.

Positions decide, never instance numbers. What cannot be one regular 3-D grid is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import UNITS, Modality
from services.core.contracts.errors import Refused
from services.core.imaging.dicom_file import DicomFile, guarded, open_dicom
from services.core.imaging.dicom_frames import Frame, frames_of_file
from services.core.imaging.dicom_header import check_instance, text
from services.core.imaging.dicom_pixels import read_frames
from services.core.imaging.orientation import axis_codes
from services.core.imaging.volume import Affine, Grid, Volume, check_geometry

SAME_POSITION_MM = 0.01
UNEVEN_FRACTION = 0.05
"""Slices may lie this fraction of the spacing beside the regular grid: headers round positions."""
MAX_SLICES = 2048
MAX_VOXELS = 1 << 28

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Pulse = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFiles:
    """The parsed headers of one series, in the order in which they were given."""

    files: tuple[DicomFile, ...]

    @property
    def first(self) -> DicomFile:
        """Any instance: what is asked of it is the same in all."""
        return self.files[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesGeometry:
    """Where a series lies: frames in slice order, affine (column, row, slice) to RAS mm, what deserves a remark."""

    frames: tuple[Frame, ...]
    affine: Affine
    frame_of_reference: str
    slice_thickness_mm: float
    remarks: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.frames[0].columns, self.frames[0].rows, len(self.frames)

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        return Grid(shape=self.shape, affine=self.affine)


def open_series(paths: Sequence[Path], pulse: Pulse = lambda: None) -> SeriesFiles:
    """Parses the headers of a series. Calls `pulse` between instances. Raises Refused as `inspect_dicom` does."""
    files = []
    for path in paths:
        file = open_dicom(path)
        with guarded():
            check_instance(file)
        files.append(file)
        pulse()
    if not files:
        raise Refused("EMPTY_SERIES", "the series has no instance")
    return SeriesFiles(files=tuple(files))


def geometry_of(series: SeriesFiles) -> SeriesGeometry:
    """Checks that the frames form one regular grid.

    Raises Refused: ONE_SLICE, TOO_MANY_SLICES, TWO_FRAMES_OF_REFERENCE, MIXED_ORIENTATIONS, CONTRADICTORY_HEADER,
    NOT_THREE_DIMENSIONAL (several images a position), DUPLICATE_SLICES, MISSING_SLICES, UNEVEN_SLICES, SHEARED_GRID,
    IMPLAUSIBLE_SPACING.
    """
    with guarded():
        frames = [frame for index, file in enumerate(series.files) for frame in frames_of_file(index, file.dataset)]
        references = {text(file.dataset, "FrameOfReferenceUID") for file in series.files}
    _check_alike(frames, references)
    first = frames[0]
    frames.sort(key=lambda frame: float(np.dot(first.normal, frame.position)))
    positions = np.array([frame.position for frame in frames])
    step = _step(positions @ first.normal, positions)
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.along_row) * first.spacing[1]
    affine[:3, 1] = np.array(first.along_column) * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    check_geometry((first.columns, first.rows, len(frames)), affine, "the series")
    between = float(np.linalg.norm(step))
    return SeriesGeometry(
        frames=tuple(frames),
        affine=_LPS_TO_RAS @ affine,
        frame_of_reference=next(iter(references)),
        slice_thickness_mm=first.thickness or between,
        remarks=_remarks(first, between),
    )


def read_series(
    series: SeriesFiles, geometry: SeriesGeometry, modality: Modality | str, pulse: Pulse = lambda: None
) -> Volume:
    """Voxels in real values, float32, axes (column, row, slice). Calls `pulse` between frames.

    Raises Refused: as `read_frames`, and NOT_FINITE.
    """
    voxels = np.empty(geometry.shape, dtype=np.float32)
    for number, (frame, pixels) in enumerate(read_frames(series.files, geometry.frames, pulse)):
        voxels[:, :, number] = pixels.T.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)
    if not np.isfinite(voxels).all():
        raise Refused("NOT_FINITE", "the series holds values that are not numbers")
    return Volume(
        data=voxels,
        affine=geometry.affine,
        modality=modality,
        units=UNITS[modality] if isinstance(modality, Modality) else "a.u.",
        provenance={"format": "dicom", "orientation": axis_codes(geometry.affine)},
    )


def _check_alike(frames: Sequence[Frame], references: set[str]) -> None:
    if len(frames) < 2:
        raise Refused("ONE_SLICE", "the series has one slice: that is no volume")
    first = frames[0]
    if len(frames) > MAX_SLICES or len(frames) * first.rows * first.columns > MAX_VOXELS:
        raise Refused("TOO_MANY_SLICES", f"the series has {len(frames)} frames")
    if len(references) != 1:
        raise Refused("TWO_FRAMES_OF_REFERENCE", "the series mixes frames of reference", "Send one series an export.")
    if any(np.abs(np.subtract(frame.orientation, first.orientation)).max() > 1e-3 for frame in frames):
        raise Refused("MIXED_ORIENTATIONS", "the series mixes slice orientations, as localizers do")
    if any((frame.rows, frame.columns) != (first.rows, first.columns) for frame in frames):
        raise Refused("CONTRADICTORY_HEADER", "the slices of the series have different sizes")
    if any(np.abs(np.subtract(frame.spacing, first.spacing)).max() > 1e-3 for frame in frames):
        raise Refused("CONTRADICTORY_HEADER", "the slices of the series have different pixel spacings")


def _step(along: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vector from one slice to the next, mm. `along`: sorted positions along the normal."""
    gaps = np.diff(along)
    repeats = int((gaps < SAME_POSITION_MM).sum())
    if repeats:
        places = len(along) - repeats
        if len(along) % places == 0:
            raise Refused("NOT_THREE_DIMENSIONAL", f"the series holds {len(along) // places} images of each slice")
        raise Refused("DUPLICATE_SLICES", f"{repeats} slices lie where another one lies", "Send the series again.")
    usual = float(np.median(gaps))
    missing = int(np.rint(gaps / usual).sum()) - len(gaps)
    regular = np.rint((along - along[0]) / usual)
    if missing > 0 and np.abs(along - along[0] - regular * usual).max() < 0.25 * usual:
        raise Refused("MISSING_SLICES", f"{missing} slices of the series are missing", "Send the whole series.")
    if np.abs(gaps - usual).max() > UNEVEN_FRACTION * usual:
        raise Refused(
            "UNEVEN_SLICES", f"the distance between slices varies from {gaps.min():.2f} to {gaps.max():.2f} mm"
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    if np.linalg.norm(positions - expected, axis=1).max() > max(0.1, 2 * UNEVEN_FRACTION * usual):
        raise Refused("UNEVEN_SLICES", "the slices do not lie on a straight line")
    return step


def _remarks(first: Frame, between: float) -> tuple[str, ...]:
    if first.spacing_between and abs(first.spacing_between - between) > 0.1 * between:
        return (f"the header states {first.spacing_between:.2f} mm between slices, their positions {between:.2f} mm",)
    return ()
