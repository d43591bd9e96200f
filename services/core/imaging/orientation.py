"""Which way the axes of a grid run, and the same voxels in the order closest to RAS. Nothing is interpolated here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.core.imaging.volume import Affine, Volume

_NEGATIVE_POSITIVE = (("L", "R"), ("P", "A"), ("I", "S"))


def axis_codes(affine: Affine) -> str:
    """Three letters: towards which side of the patient each voxel axis runs most nearly, such as `LPS`."""
    order, signs = _axes(affine)
    return "".join(_NEGATIVE_POSITIVE[world][int(sign > 0)] for world, sign in zip(order, signs, strict=True))


def to_ras(volume: Volume) -> Volume:
    """The same voxels, axes permuted and flipped so that they run most nearly to R, A and S. Obliqueness stays."""
    order, signs = _axes(volume.affine)
    data, affine = volume.data, volume.affine.copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (volume.data.shape[axis] - 1)
            affine[:3, axis] *= -1
    source = [order.index(world) for world in range(3)]
    affine[:3, :3] = affine[:3, source]
    return replace(volume, data=np.ascontiguousarray(np.transpose(data, source)), affine=affine)


def _axes(affine: Affine) -> tuple[list[int], list[float]]:
    """Per voxel axis: the world axis it follows (each exactly once, the clearest pair first) and its sign."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order, signs = [0, 0, 0], [0.0, 0.0, 0.0]
    strength = np.abs(cosines)
    for _ in range(3):
        world, axis = np.unravel_index(int(np.argmax(strength)), (3, 3))
        order[axis], signs[axis] = int(world), float(np.sign(cosines[world, axis]))
        strength[world, :] = -1
        strength[:, axis] = -1
    return order, signs
