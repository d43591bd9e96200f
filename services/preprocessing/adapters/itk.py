"""Volumes (RAS, x y z) to SimpleITK images (LPS, z y x) and back, shrunk or cropped on the way."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from services.core.imaging.volume import Affine, Array, Volume

_FLIP = np.diag([-1.0, -1.0, 1.0])
_FLIP4 = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(data: Array, affine: Affine) -> sitk.Image:
    """An image of float32 voxels at the same place."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=np.float32))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((_FLIP @ (affine[:3, :3] / spacing)).ravel().tolist())
    image.SetOrigin((_FLIP @ affine[:3, 3]).tolist())
    return image


def head_of(volume: Volume) -> sitk.Image:
    """The part of a volume that holds more than background, with a margin of 6 mm: less to smooth and to search."""
    step = [max(1, round(3.0 / spacing)) for spacing in volume.grid.spacing]
    thin = volume.data[:: step[0], :: step[1], :: step[2]]
    if thin.max() <= thin.min():
        return to_itk(volume.data, volume.affine)
    filled = thin > 0.08 * np.percentile(thin[thin > thin.min()], 98)
    parts = []
    for axis in range(3):
        lines = np.flatnonzero(filled.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(6.0 / volume.grid.spacing[axis]))
        low = max(0, int(lines[0]) * step[axis] - margin)
        parts.append(slice(low, min(volume.data.shape[axis], int(lines[-1] + 1) * step[axis] + margin)))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([part.start for part in parts])
    return to_itk(volume.data[parts[0], parts[1], parts[2]], affine)


def shrunk(image: sitk.Image, to_mm: float) -> sitk.Image:
    """Means of whole blocks of voxels, so that no edge of a voxel exceeds `to_mm` that did not before."""
    factors = [max(1, int(to_mm / spacing + 0.05)) for spacing in image.GetSpacing()]
    return image if factors == [1, 1, 1] else sitk.BinShrink(image, factors)


def moved(image: sitk.Image, transform: Affine) -> sitk.Image:
    """The same voxels at the place to which the RAS transform carries them."""
    lps = _FLIP4 @ transform @ _FLIP4
    result = sitk.Image(image)
    result.SetOrigin((lps[:3, :3] @ np.array(image.GetOrigin()) + lps[:3, 3]).tolist())
    result.SetDirection((lps[:3, :3] @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    return result


def ras_matrix(rotation: Array, translation: Array, centre: Array) -> Affine:
    """4x4 in RAS of ITK's x -> R (x - c) + c + t in LPS."""
    lps = np.eye(4)
    lps[:3, :3] = rotation
    lps[:3, 3] = translation + centre - rotation @ centre
    return _FLIP4 @ lps @ _FLIP4
