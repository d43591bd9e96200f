"""How well two sequences agree at a rigid transform: normalised mutual information on a 3 mm lattice.

NMI = (H(a) + H(b)) / H(a, b), 1 for nothing in common (Studholme 1999, doi:10.1016/S0031-3203(98)00091-0). Cheap enough
to ask before a registration whether it is needed, and after it whether it arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Affine, Grid, Volume

LATTICE_MM = 3.0
BINS = 32
PROBE_MM = 3.0
PROBE_RAD = 0.045
"""The probing rotation moves the cortex, about 65 mm from the centre, by about 3 mm as well."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """Points (RAS mm, homogeneous, 4 x n) inside the head of a fixed volume, their grey levels and their centre."""

    points: NDArray[np.float64]
    levels: NDArray[np.int64]
    centre: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """NMI here, and how far its maximum lies away: mm per translation axis, mm at the cortex per rotation axis."""

    nmi: float
    offsets_mm: tuple[float, ...]

    @property
    def worst_mm(self) -> float:
        """The largest offset; infinite where the neighbourhood has no maximum at all."""
        return max(abs(offset) for offset in self.offsets_mm)


def lattice_of(fixed: Volume) -> Lattice:
    """Sampling points of a fixed volume: every 3 mm where it is brighter than a tenth of its bright tissue."""
    steps = [max(1, round(LATTICE_MM / spacing)) for spacing in fixed.grid.spacing]
    data = fixed.data[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    head = ndimage.binary_dilation(data > 0.1 * np.percentile(data[data > data.min()], 98), iterations=2)
    index = np.argwhere(head) * np.array(steps)
    points = fixed.affine @ np.vstack([index.T, np.ones(len(index))])
    return Lattice(points=points, levels=_levels(data[head]), centre=points[:3].mean(axis=1))


def lattice_inside(fixed: Volume, mask: Volume) -> Lattice:
    """Sampling points of a prepared volume: every 3 mm inside the brain mask on the same grid."""
    step = tuple(slice(None, None, max(1, round(LATTICE_MM / spacing))) for spacing in fixed.grid.spacing)
    inside = mask.data[step] > 0
    index = np.argwhere(inside) * np.array([part.step for part in step])
    points = fixed.affine @ np.vstack([index.T, np.ones(len(index))])
    levels = _levels(fixed.data[step][inside].astype(np.float32))
    return Lattice(points=points, levels=levels, centre=points[:3].mean(axis=1))


def seen(lattice: Lattice, grid: Grid, to_grid: Affine) -> float:
    """Share of the lattice points that fall inside a grid, placed by `to_grid` (RAS mm, lattice to grid)."""
    index = (np.linalg.inv(grid.affine) @ to_grid @ lattice.points)[:3]
    limits = np.array(grid.shape)[:, None] - 1
    return float(((index >= 0) & (index <= limits)).all(axis=0).mean())


def agreement(lattice: Lattice, moving: Volume, to_moving: Affine) -> Agreement:
    """NMI at `to_moving` (RAS mm, fixed to moving) and, by a parabola through two probes an axis, where it peaks."""
    here = nmi(lattice, moving, to_moving)
    offsets = []
    for axis in range(6):
        low, high = (nmi(lattice, moving, to_moving @ _probe(lattice.centre, axis, sign)) for sign in (-1.0, 1.0))
        curvature = low - 2 * here + high
        offsets.append(float("inf") if curvature >= 0 else float(PROBE_MM * 0.5 * (low - high) / curvature))
    return Agreement(nmi=here, offsets_mm=tuple(offsets))


def nmi(lattice: Lattice, moving: Volume, to_moving: Affine) -> float:
    """NMI over the lattice points that fall inside the moving volume; 1 when fewer than a third of them do."""
    index = (np.linalg.inv(moving.affine) @ to_moving @ lattice.points)[:3]
    limits = np.array(moving.data.shape)[:, None] - 1
    inside = ((index >= 0) & (index <= limits)).all(axis=0)
    if inside.mean() < 1 / 3:
        return 1.0
    values = ndimage.map_coordinates(moving.data, index[:, inside], output=np.float32, order=1, mode="nearest")
    counts = np.bincount(lattice.levels[inside] * BINS + _levels(values), minlength=BINS * BINS)
    joint = counts.reshape(BINS, BINS) / counts.sum()
    entropy = _entropy(joint.ravel())
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / entropy) if entropy > 0 else 1.0


def centred(fixed: Lattice, moving: Lattice) -> Affine:
    """The translation that brings the centre of the fixed head to that of the moving one."""
    shift = np.eye(4)
    shift[:3, 3] = moving.centre - fixed.centre
    return shift


def rotation_and_shift(transform: Affine, centre: NDArray[np.float64]) -> tuple[float, float]:
    """Angle in degrees, and how far the centre moves in mm."""
    cosine = np.clip((np.trace(transform[:3, :3]) - 1) / 2, -1.0, 1.0)
    moved = transform[:3, :3] @ centre + transform[:3, 3] - centre
    return float(np.degrees(np.arccos(cosine))), float(np.linalg.norm(moved))


def _levels(values: NDArray[np.float32]) -> NDArray[np.int64]:
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = (values - low) * ((BINS - 1) / max(float(high - low), 1e-6))
    levels: NDArray[np.int64] = np.clip(scaled, 0, BINS - 1).astype(np.int64)
    return levels


def _entropy(share: NDArray[np.float64]) -> float:
    filled = share[share > 0]
    return float(-(filled * np.log(filled)).sum())


def _probe(centre: NDArray[np.float64], axis: int, sign: float) -> Affine:
    """A small step along (0 to 2) or around (3 to 5) an axis through the centre."""
    step = np.eye(4)
    if axis < 3:
        step[axis, 3] = sign * PROBE_MM
        return step
    first, second = [other for other in range(3) if other != axis - 3]
    cosine, sine = np.cos(PROBE_RAD), sign * np.sin(PROBE_RAD)
    step[first, first] = step[second, second] = cosine
    step[first, second], step[second, first] = -sine, sine
    step[:3, 3] = centre - step[:3, :3] @ centre
    return step
