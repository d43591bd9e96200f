"""Signed distance to a region's surface, in mm, negative inside: computed once a mask so that a pose only looks up.

The Euclidean distance transform measures between voxel centres; the surface lies half a voxel from them. Near a region
(to `NEAR_MM`) the field has the mask's own spacing; further away twice that: there it is right to about one mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NEAR_MM = 12.0
HALF, FAR_HALF = 0.5, 0.35
"""Where the surface lies between voxel centres; far from a curved one the nearest of its centres is nearer to it."""
WHOLE_VOXELS = 700_000
"""Masks up to this size, such as the coarse ones, have one field at their own spacing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """One field (x, y, z): its first voxel begins at the outer corner `corner`, in voxels of the mask, and each is
    `factor` of these long.
    """

    values: NDArray[np.float16]
    corner: tuple[int, int, int] = (0, 0, 0)
    factor: int = 1


def distance_levels(region: NDArray[np.bool_], spacing_mm: float) -> tuple[Level, ...]:
    """Fields of a region on an isotropic grid, finest first; none for a region without a surface in the box.

    Raises ValueError when the box has an odd number of voxels along an axis and two levels are needed.
    """
    box = _bounding_box(region, round(NEAR_MM / spacing_mm))
    if box is None or region.all():
        return ()
    if region.size <= WHOLE_VOXELS:
        return (Level(values=_signed(region, spacing_mm, HALF)),)
    near = Level(
        values=_signed(region[box], spacing_mm, HALF),
        corner=(int(box[0].start), int(box[1].start), int(box[2].start)),
    )
    return near, Level(values=_signed(_halved(region), 2 * spacing_mm, FAR_HALF), factor=2)


def _signed(region: NDArray[np.bool_], spacing_mm: float, half: float) -> NDArray[np.float16]:
    """Distance of each voxel centre to the surface, `half` a voxel from centres. What is inside is measured in its own
    box alone; where the grid cuts the region off, there is no surface.
    """
    surface = half * spacing_mm
    signed = ndimage.distance_transform_edt(~region, sampling=spacing_mm) - surface
    box = _bounding_box(region, 1)
    if box is not None and not region[box].all():
        inside = ndimage.distance_transform_edt(region[box], sampling=spacing_mm)
        signed[box] = np.where(region[box], surface - inside, signed[box])
    rounded: NDArray[np.float16] = signed.astype(np.float16)
    return rounded


def _halved(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Twice the spacing: a voxel belongs to the region when half of its eight do, or when it is all there is."""
    x, y, z = region.shape
    if x % 2 or y % 2 or z % 2:
        raise ValueError(f"a box of shape {region.shape} cannot be halved")
    counts = region.reshape(x // 2, 2, y // 2, 2, z // 2, 2).sum(axis=(1, 3, 5), dtype=np.uint8)
    most: NDArray[np.bool_] = counts >= 4
    some: NDArray[np.bool_] = counts > 0
    return most if most.any() else some


def _bounding_box(region: NDArray[np.bool_], margin: int) -> tuple[slice, slice, slice] | None:
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(region.any(axis=others))
        if hit.size == 0:
            return None
        begin, end = max(int(hit[0]) - margin, 0), min(int(hit[-1]) + 1 + margin, region.shape[axis])
        spans.append(slice(begin, end))
    return spans[0], spans[1], spans[2]
