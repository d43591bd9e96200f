"""Voxels of one grid onto another, once, all transforms composed first. Linear; smoothed before it gets coarser."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Affine, Grid, Volume

FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))


def resample(volume: Volume, grid: Grid, to_volume: Affine | None = None, *, nearest: bool = False) -> Volume:
    """`volume` on `grid`; zero where it does not reach. float32, or the volume's dtype with `nearest` (masks).

    `to_volume` maps RAS mm of the grid to RAS mm of the volume (None: they agree).
    """
    mapping = index_map(volume, grid, to_volume)
    data = volume.data if nearest else _smoothed(volume, grid)
    resampled = ndimage.affine_transform(
        data,
        mapping[:3, :3],
        offset=mapping[:3, 3],
        output_shape=grid.shape,
        output=volume.data.dtype if nearest else np.float32,
        order=0 if nearest else 1,
        mode="constant" if nearest else "grid-constant",
        cval=0.0,
    )
    return Volume(
        data=resampled,
        affine=grid.affine,
        modality=volume.modality,
        units=volume.units,
        provenance=volume.provenance,
    )


def resample_inside(volume: Volume, mask: Volume, to_volume: Affine | None = None, threads: int = 1) -> Volume:
    """`resample` on the mask's grid, but only where the mask is set: zero elsewhere, several times faster.

    float32. `to_volume` maps RAS mm of the mask to RAS mm of the volume (None: they agree).
    """
    mapping = index_map(volume, mask.grid, to_volume)
    source = _smoothed(volume, mask.grid)
    voxels = np.zeros(mask.data.shape, np.float32)
    inside = mask.data > 0

    def fill(part: slice) -> None:
        index = np.argwhere(inside[part])
        places = mapping[:3, :3] @ (index + np.array([part.start, 0, 0])).T + mapping[:3, 3:]
        values = ndimage.map_coordinates(source, places, output=np.float32, order=1, mode="grid-constant")
        voxels[part][tuple(index.T)] = values

    edge = -(-mask.data.shape[0] // threads)
    parts = [slice(start, start + edge) for start in range(0, mask.data.shape[0], edge)]
    with ThreadPoolExecutor(threads) as pool:  # scipy gives the interpreter's lock away while it samples
        for _ in pool.map(fill, parts):
            pass
    return Volume(
        data=voxels, affine=mask.affine, modality=volume.modality, units=volume.units, provenance=volume.provenance
    )


def index_map(volume: Volume, grid: Grid, to_volume: Affine | None = None) -> Affine:
    """4x4: voxel index of the grid to voxel index of the volume. Rounded to 1e-9, so that equal grids map exactly."""
    chain = np.linalg.inv(volume.affine) @ (np.eye(4) if to_volume is None else to_volume) @ grid.affine
    rounded: NDArray[np.float64] = np.round(chain, 9)
    return rounded


def snapped(grid: Grid, reference: Grid) -> Grid:
    """The grid shifted by less than a voxel so that its first voxel lies on a voxel of the reference.

    Where both have parallel axes and equal spacings, resampling the reference then copies instead of blurring.
    """
    place = np.linalg.inv(reference.affine) @ grid.affine @ np.array([0.0, 0.0, 0.0, 1.0])
    affine = grid.affine.copy()
    affine[:3, 3] = (reference.affine @ np.append(np.rint(place[:3]), 1.0))[:3]
    return Grid(shape=grid.shape, affine=affine)


def _smoothed(volume: Volume, grid: Grid) -> NDArray[np.float32]:
    """Gaussian with the width that turns the volume's voxel into the grid's; none where the grid is not coarser."""
    data: NDArray[np.float32] = volume.data.astype(np.float32, copy=False)
    target = min(grid.spacing)
    widths = [np.sqrt(max(target**2 - spacing**2, 0.0)) * FWHM_TO_SIGMA / spacing for spacing in volume.grid.spacing]
    if max(widths) < 0.2:
        return data
    smoothed: NDArray[np.float32] = ndimage.gaussian_filter(data, widths, truncate=3.0)
    return smoothed
