"""Smooth random fields and the random warp of the anatomy. Frame: RAS mm from the centre of the canonical box."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.canonical import BOX_MM
from services.phantom.randomised_atlas import TissueAtlas

Field = NDArray[np.float32]
Point = NDArray[np.float64]

_SPLINE_STD = 0.479**1.5  # standard deviation of a cubic B-spline of white noise, three axes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bump:
    """A radial push away from `centre` (mm): mass effect, wide ventricles. `strength` below 0.6 keeps it invertible."""

    centre: Point
    radius_mm: float
    strength: float


def grid_shape(spacing_mm: float) -> tuple[int, int, int]:
    """Voxels of the canonical box at this spacing."""
    x, y, z = (round(edge / spacing_mm) for edge in BOX_MM)
    return x, y, z


def positions(spacing_mm: float) -> tuple[Field, Field, Field]:
    """Voxel centres in mm from the box's centre, as three arrays that broadcast against each other."""
    x, y, z = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * spacing_mm for n in grid_shape(spacing_mm))
    return x[:, None, None], y[None, :, None], z[None, None, :]


def offsets_from(centre: Point, spacing_mm: float) -> tuple[Field, Field, Field]:
    """`positions` relative to `centre` (mm from the box's centre)."""
    x, y, z = positions(spacing_mm)
    return x - np.float32(centre[0]), y - np.float32(centre[1]), z - np.float32(centre[2])


@lru_cache(maxsize=256)
def _spline(voxels: int, step: float) -> NDArray[np.float32]:
    """Cubic B-spline weights (voxels, controls) for control points every `step` voxels."""
    at = np.arange(voxels) / step
    controls = int(at[-1]) + 4
    distance = np.abs(at[:, None] - (np.arange(controls)[None, :] - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], step_voxels: float) -> Field:
    """Noise of mean 0 and standard deviation about 1 that varies over about `step_voxels` voxels."""
    if step_voxels < 1.2:
        return rng.standard_normal(shape, dtype=np.float32)
    weights = [_spline(n, round(step_voxels, 2)) for n in shape]
    controls = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32) / np.float32(_SPLINE_STD)
    for axis, weight in enumerate(weights):
        controls = np.moveaxis(np.tensordot(weight, controls, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(controls)


def _affine(rng: np.random.Generator) -> tuple[NDArray[np.float64], Point]:
    """Inverse of a random rotation (+-12 degrees), scale and flip; and a shift in mm. The MNI brain is large: the
    scale is .82 to 1.07, and +-4 % per axis.
    """
    turn = np.eye(3)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        angle = np.deg2rad(rng.uniform(-12, 12))
        part = np.eye(3)
        part[a, a] = part[b, b] = np.cos(angle)
        part[a, b], part[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ part
    scale = rng.uniform(0.82, 1.07) * rng.uniform(0.96, 1.04, 3)
    scale[0] *= rng.choice((-1.0, 1.0))
    return turn / scale, rng.uniform(-5, 5, 3)


def warped_tissues(rng: np.random.Generator, atlas: TissueAtlas, bumps: tuple[Bump, ...]) -> Field:
    """The atlas (tissue, x, y, z) after a random affine, a two-scale random displacement and the pushes of `bumps`."""
    spacing = atlas.spacing_mm
    shape = atlas.maps.shape[1:]
    points = [np.broadcast_to(p, shape).astype(np.float32) for p in positions(spacing)]
    for bump in bumps:
        points = _pulled_back(points, bump)
    for scale_mm, reach_mm in ((45.0, rng.uniform(1.0, 5.0)), (18.0, rng.uniform(0.3, 1.5))):
        points = [p + np.float32(reach_mm) * smooth_noise(rng, shape, scale_mm / spacing) for p in points]
    inverse, shift = _affine(rng)
    index = np.empty((3, *shape), dtype=np.float32)
    for a in range(3):
        moved = sum(np.float32(inverse[a, b]) * (points[b] - np.float32(shift[b])) for b in range(3))
        index[a] = moved / np.float32(spacing) + np.float32((shape[a] - 1) / 2)
    out = np.zeros_like(atlas.maps)
    out[0] = ndimage.map_coordinates(atlas.maps[0], index, order=1)
    inside = out[0] > 0.02
    chosen = index[:, inside]
    for k in range(1, len(out)):
        out[k, inside] = ndimage.map_coordinates(atlas.maps[k], chosen, order=1)
    return out


def _pulled_back(points: list[Field], bump: Bump) -> list[Field]:
    """Where the tissue that is now at `points` came from: nearer to the centre of the push."""
    away = [p - np.float32(c) for p, c in zip(points, bump.centre, strict=True)]
    squared = away[0] ** 2 + away[1] ** 2 + away[2] ** 2
    shrink = np.float32(bump.strength) * np.exp(-squared / np.float32(2 * (1.1 * bump.radius_mm) ** 2))
    return [p - a * shrink for p, a in zip(points, away, strict=True)]
