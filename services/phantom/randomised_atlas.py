"""Tissue maps on the canonical box: the anatomy that every randomised case starts from.

One brain (see `anatomy.Atlas`), in the middle of the box. Variation comes from the warp; see `randomised_fields`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.canonical import canonical_grid
from services.phantom.anatomy import SHARPNESS, Atlas

TISSUES = ("brain", "white", "grey", "ventricle")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueAtlas:
    """Probabilities 0 to 1 of `TISSUES` on the canonical box (tissue, x, y, z), RAS; edge of a voxel in mm."""

    maps: NDArray[np.float32]
    spacing_mm: float


def tissue_atlas(atlas: Atlas, spacing_mm: float) -> TissueAtlas:
    """The packaged atlas on the canonical box, its averaged borders sharpened towards one person's."""
    occupied = np.argwhere(atlas.brain > 0.5)
    middle = (occupied.min(axis=0) + occupied.max(axis=0)) / 2.0
    centre = atlas.grid.affine[:3, :3] @ middle + atlas.grid.affine[:3, 3]
    target = canonical_grid(centre, spacing_mm)
    to_voxel = np.linalg.inv(atlas.grid.affine) @ target.affine
    step = np.diag(to_voxel)[:3]

    def resampled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = ndimage.affine_transform(
            values, step, offset=to_voxel[:3, 3], output_shape=target.shape, order=1
        )
        return out

    brain, white, grey, ventricle = (resampled(v) for v in (atlas.brain, atlas.white, atlas.grey, atlas.ventricle))
    parts = [np.clip(p, 0.0, 1.0) ** SHARPNESS for p in (white, grey, brain - white - grey)]
    share = brain / np.maximum(parts[0] + parts[1] + parts[2], np.float32(1e-6))
    maps = np.stack([brain, parts[0] * share, parts[1] * share, ventricle])
    return TissueAtlas(maps=maps.astype(np.float32), spacing_mm=spacing_mm)
