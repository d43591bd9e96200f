"""Shapes that tumours, cavities and their imitations share: windows, turned ellipsoids, level sets of a volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.phantom.randomised_fields import Field, Point, positions, smooth_noise

Mask = NDArray[np.bool_]
Window = tuple[slice, ...]


def ball_radius_mm(volume_ml: float) -> float:
    """Radius of the ball of this volume."""
    return float((3000.0 * volume_ml / (4 * np.pi)) ** (1 / 3))


def window_around(centre: Point, reach_mm: float, shape: tuple[int, ...], spacing_mm: float) -> Window:
    """The part of the box within `reach_mm` of `centre` (mm from the box's centre) along each axis; may be empty."""
    middle = np.asarray(centre) / spacing_mm + (np.array(shape) - 1) / 2
    low = np.clip(np.floor(middle - reach_mm / spacing_mm), 0, None).astype(int)
    high = np.clip(np.ceil(middle + reach_mm / spacing_mm) + 1, 0, shape).astype(int)
    return tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))


def offsets(centre: Point, window: Window, spacing_mm: float) -> list[Field]:
    """Distance from `centre` along each axis in the window, mm; three arrays that broadcast."""
    axes = []
    for a, p in enumerate(positions(spacing_mm)):
        part = tuple(window[a] if a == axis else slice(None) for axis in range(3))
        axes.append(p[part] - np.float32(centre[a]))
    return axes


def ellipsoid(rng: np.random.Generator, away: list[Field], offset: Point, spread: float = 0.22) -> Field:
    """Distance to the centre in a stretched, turned frame, mm."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(rng.normal(0.0, spread, 3))
    frame = (turn / (stretch / stretch.prod() ** (1 / 3))[:, None]).astype(np.float32)
    moved = [p - np.float32(o) for p, o in zip(away, offset, strict=True)]
    rows = [f[0] * moved[0] + f[1] * moved[1] + f[2] * moved[2] for f in frame]
    distance: Field = np.sqrt(rows[0] ** 2 + rows[1] ** 2 + rows[2] ** 2)
    return distance


def smallest(score: Field, allowed: Mask, volume_ml: float, spacing_mm: float) -> Mask:
    """The allowed voxels of lowest score that together have `volume_ml`."""
    wanted = round(volume_ml * 1000.0 / spacing_mm**3)
    values = score[allowed]
    if wanted < 1 or values.size == 0:
        return np.zeros(score.shape, dtype=bool)
    limit = np.partition(values, min(wanted, values.size) - 1)[min(wanted, values.size) - 1]
    chosen: Mask = allowed & (score <= limit)
    return chosen


def random_point(rng: np.random.Generator, where: Mask, spacing_mm: float) -> Point | None:
    """A voxel of `where`, mm from the box's centre; None where there is none."""
    candidates = np.flatnonzero(where)
    if candidates.size == 0:
        return None
    index = np.array(np.unravel_index(int(candidates[rng.integers(candidates.size)]), where.shape), dtype=float)
    point: Point = (index - (np.array(where.shape) - 1) / 2) * spacing_mm
    return point


def blob(rng: np.random.Generator, centre: Point, volume_ml: float, brain: Field, spacing_mm: float) -> Mask:
    """An uneven lump of this volume inside the brain, on the whole grid."""
    out = np.zeros(brain.shape, dtype=bool)
    radius = ball_radius_mm(volume_ml)
    window = window_around(centre, 2.5 * radius + 4.0, brain.shape, spacing_mm)
    if out[window].size:
        score = ellipsoid(rng, offsets(centre, window, spacing_mm), np.zeros(3), 0.35) / np.float32(radius)
        score = score + np.float32(rng.uniform(0.1, 0.3)) * smooth_noise(rng, score.shape, 0.8 * radius / spacing_mm)
        out[window] = smallest(score, brain[window] > 0.5, volume_ml, spacing_mm)
    return out
