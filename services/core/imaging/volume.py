"""The one way an image crosses a function boundary: voxels with their geometry, modality and units.

Frame: RAS, millimetres. Axis order (x, y, z), C-order. Affine: 4x4 float64, voxel index to RAS mm (voxel centres).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused

Array: TypeAlias = NDArray[Any]
Affine: TypeAlias = NDArray[np.float64]

MAX_SHEAR = 1e-3
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 20.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Where voxels lie: shape (x, y, z) and affine (voxel index to RAS mm)."""

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres: |det| of the affine, in mm3, over 1000."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    def same_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """True when both grids put every voxel in the same place, to `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
        corners[:, :3] *= np.array(self.shape) - 1
        return bool(np.abs(corners @ (self.affine - other.affine).T).max() <= tolerance_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """Voxels (x, y, z) on a grid. `modality` is a slot, or a plain word for masks and maps; `units` as in `UNITS`."""

    data: Array
    affine: Affine
    modality: Modality | str
    units: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        x, y, z = self.data.shape
        return Grid(shape=(x, y, z), affine=self.affine)

    def with_data(self, data: Array) -> Volume:
        """The same place and meaning with other voxels. Raises ValueError when the shape differs."""
        if data.shape != self.data.shape:
            raise ValueError(f"voxels of shape {data.shape} do not fit a grid of shape {self.data.shape}")
        return replace(self, data=data)


def check_geometry(shape: tuple[int, ...], affine: Affine, what: str) -> None:
    """Refuses (`Refused`) what cannot be placed in the patient: not 3-D, singular, sheared or absurdly spaced.

    `what` names the input in the message; it must not hold identity.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise Refused("NOT_THREE_DIMENSIONAL", f"{what} has shape {shape}; a volume has three axes")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise Refused("SINGULAR_AFFINE", f"{what} has an affine that cannot be inverted", "Export the series again.")
    columns = affine[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if spacing.min() < MIN_SPACING_MM or spacing.max() > MAX_SPACING_MM:
        raise Refused("IMPLAUSIBLE_SPACING", f"{what} has voxel spacing {np.round(spacing, 4).tolist()} mm")
    cosines = columns / spacing
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > MAX_SHEAR:
        raise Refused("SHEARED_GRID", f"{what} has axes that are not perpendicular", "Export without gantry tilt.")
