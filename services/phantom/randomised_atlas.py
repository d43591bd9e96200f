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

TISSUES = ("brain", "white", "grey", "ventricle", "deep")
# thalamus, putamen, head of the caudate nucleus of one side: centre and half axes, MNI mm
DEEP_NUCLEI = (
    ((12.0, -19.0, 8.0), (9.0, 14.0, 9.0)),
    ((26.0, 2.0, 0.0), (7.0, 15.0, 10.0)),
    ((13.0, 14.0, 8.0), (5.0, 10.0, 10.0)),
)


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
    deep = _deep_nuclei(target.affine, target.shape) * np.clip(parts[0] + parts[1], 0.0, 1.0)
    maps = np.stack([brain, parts[0] * share, parts[1] * share, ventricle, deep])
    return TissueAtlas(maps=maps.astype(np.float32), spacing_mm=spacing_mm)


def _deep_nuclei(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Soft ellipsoids in both halves, 0 to 1; grids of the canonical box are not turned."""
    x, y, z = np.ogrid[tuple(slice(n) for n in shape)]
    mm = [affine[a, a] * i + affine[a, 3] for a, i in enumerate((x, y, z))]
    out = np.zeros(shape, dtype=np.float32)
    for centre, half in DEEP_NUCLEI:
        parts = [(m - c) / h for m, c, h in zip((np.abs(mm[0]), mm[1], mm[2]), centre, half, strict=True)]
        radius = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2)
        out = np.maximum(out, np.clip((1.15 - radius) / 0.3, 0.0, 1.0)).astype(np.float32)
    return out
