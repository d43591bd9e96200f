"""The canonical box of the models: 160 x 192 x 160 mm, axis-aligned in RAS, around the brain's centre.

The coarse model sees it whole at 2 mm (80 x 96 x 80), the fine model sees 1 mm crops of it. Affines here map voxel
centres; the 1 mm and 2 mm grids share their outer edges, so a 2 mm voxel covers exactly eight 1 mm voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.volume import Affine, Grid

BOX_MM = (160, 192, 160)
COARSE_SHAPE = (80, 96, 80)
FINE_CROP_SHAPE = (96, 96, 96)


def canonical_grid(centre_ras_mm: NDArray[np.float64], spacing_mm: float = 1.0) -> Grid:
    """Grid of the box around `centre_ras_mm` (RAS, mm) at an isotropic spacing that divides the box (1 or 2 mm)."""
    shape = tuple(round(edge / spacing_mm) for edge in BOX_MM)
    affine: Affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = centre_ras_mm - np.array(BOX_MM) / 2 + spacing_mm / 2
    return Grid(shape=(shape[0], shape[1], shape[2]), affine=affine)


def coarse_grid(fine: Grid) -> Grid:
    """The 2 mm grid that covers exactly the same box as the 1 mm canonical grid."""
    affine = fine.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] += fine.affine[:3, :3] @ np.full(3, 0.5)
    x, y, z = fine.shape
    return Grid(shape=(x // 2, y // 2, z // 2), affine=affine)
