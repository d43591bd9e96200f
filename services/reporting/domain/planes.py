"""Where the voxels of a native mask lie on the DICOM planes of its reference series.

Masks are RAS on their own grid, DICOM planes are LPS with rows and columns: nothing is resampled, voxels are only
looked up, and a mask that does not lie on the planes voxel by voxel is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.volume import Volume
from services.reporting.errors import OutputNotPossible

MAX_DEVIATION_VOXELS = 0.1
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """An image plane as in DICOM PS3.3 C.7.6.2, LPS mm.

    `position`: centre of the first pixel; `along_row`: direction of growing column number; `along_column`: direction
    of growing row number; `spacing_mm`: between rows, between columns; `shape`: rows, columns.
    """

    position: Vector
    along_row: Vector
    along_column: Vector
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]

    def affine(self) -> NDArray[np.float64]:
        """4x3: (column, row, 1) to LPS mm (PS3.3 C.7.6.2.1.1)."""
        matrix = np.zeros((4, 3))
        matrix[:3, 0] = np.array(self.along_row) * self.spacing_mm[1]
        matrix[:3, 1] = np.array(self.along_column) * self.spacing_mm[0]
        matrix[:3, 2] = self.position
        matrix[3, 2] = 1.0
        return matrix


def frames_on(mask: Volume, planes: Sequence[Plane]) -> NDArray[np.uint8]:
    """Labels on each plane: (planes, rows, columns), in the order of `planes`.

    Raises OutputNotPossible when the planes do not hold every voxel of the mask exactly once.
    """
    placed = [_voxels(mask, plane) for plane in planes]
    slices = [int(base[axis]) for base, _, axis in placed]
    axes = {axis for _, _, axis in placed}
    if len(axes) != 1 or sorted(slices) != list(range(mask.data.shape[axes.pop()])):
        raise _mismatch(f"{len(planes)} planes do not hold each slice of a mask of shape {mask.data.shape} once")
    return np.stack([_frame(mask, base, steps, axis) for base, steps, axis in placed])


def slice_order(planes: Sequence[Plane]) -> list[int]:
    """Indices of the planes in the order of their position along their common normal."""
    normal = np.cross(planes[0].along_row, planes[0].along_column)
    return sorted(range(len(planes)), key=lambda index: float(np.dot(normal, planes[index].position)))


def _voxels(mask: Volume, plane: Plane) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """First voxel, steps (3x2: per column, per row) and slice axis of a plane, in voxels of the mask."""
    placed = (np.linalg.inv(mask.affine) @ _LPS_TO_RAS @ plane.affine())[:3]
    base, steps = np.rint(placed[:, 2]), np.rint(placed[:, :2])
    rows, columns = plane.shape
    corners = np.array([[0, 0, 1], [columns - 1, 0, 1], [0, rows - 1, 1], [columns - 1, rows - 1, 1]], dtype=float)
    exact = np.column_stack([steps, base])
    if np.abs((placed - exact) @ corners.T).max() > MAX_DEVIATION_VOXELS:
        raise _mismatch("the mask's voxels do not lie on the pixels of the reference series")
    still = np.flatnonzero(~steps.any(axis=1))
    ends = exact @ corners.T
    shape = np.array(mask.data.shape)
    inside = ends.min() >= 0 and (ends.max(axis=1) < shape).all()
    along_axes = np.count_nonzero(steps) == 2 and np.abs(steps).max() == 1
    if len(still) != 1 or not along_axes or not inside or rows * columns * shape[still[0]] != mask.data.size:
        raise _mismatch(f"planes of {rows} x {columns} pixels do not fit a mask of shape {mask.data.shape}")
    return base.astype(np.int64), steps.astype(np.int64), int(still[0])


def _frame(mask: Volume, base: NDArray[np.int64], steps: NDArray[np.int64], axis: int) -> NDArray[np.uint8]:
    """The slice of a plane that covers it: rows first, turned to where its first pixel is."""
    row_axis, column_axis = (int(np.flatnonzero(steps[:, direction])[0]) for direction in (1, 0))
    frame = np.take(mask.data, base[axis], axis=axis)
    upright = frame if row_axis < column_axis else frame.T
    turned: NDArray[np.uint8] = upright[:: int(steps[row_axis, 1]), :: int(steps[column_axis, 0])].astype(np.uint8)
    return turned


def _mismatch(detail: str) -> OutputNotPossible:
    return OutputNotPossible("SEG_GEOMETRY_MISMATCH", f"The DICOM segmentation was not written: {detail}.")
