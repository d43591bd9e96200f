"""Resection cavities of randomised cases: fluid where tumour was, open to the surface or to a ventricle.

The operated tumour leaves a nodular remnant (still ET or NCR), oedema, or nothing. A thin lining is not tumour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.labels import Label
from services.phantom.randomised_fields import Field, Point, smooth_noise
from services.phantom.randomised_shapes import ball_radius_mm, ellipsoid, offsets, window_around

CAVITY_SHARE = 0.2  # of the cases with a tumour
REMNANT_SHARE, BARE_SHARE = 0.6, 0.15  # tumour left beside the cavity; nothing left at all, not even oedema
TO_VENTRICLE = 0.25


def operate(
    rng: np.random.Generator, labels: NDArray[np.uint8], at: tuple[Point, float], tissues: Field, spacing_mm: float
) -> None:
    """Cuts a cavity into the tumour at `at` (centre in mm from the box's centre, core ml), in place."""
    centre, core_ml = at
    radius = max(ball_radius_mm(core_ml) * float(rng.uniform(0.8, 1.15)), 6.0)
    remnant = rng.random() < REMNANT_SHARE
    direction = rng.standard_normal(3)
    shift = direction / np.linalg.norm(direction) * (radius * rng.uniform(0.25, 0.8) if remnant else 0.0)
    window = window_around(centre, radius + 80.0, labels.shape, spacing_mm)
    brain, ventricle = tissues[0][window], tissues[3][window]
    if brain.size == 0:
        return
    away = offsets(centre, window, spacing_mm)
    score = ellipsoid(rng, away, shift) / np.float32(radius)
    to = _ventricle_near(centre, tissues[3], spacing_mm) if rng.random() < TO_VENTRICLE else None
    corridor = _distance_to_path(away, shift, _outwards(centre) if to is None else to - centre)
    score = np.minimum(score, corridor / np.float32(radius * rng.uniform(0.35, 0.7)))
    score = score + np.float32(rng.uniform(0.05, 0.2)) * smooth_noise(rng, brain.shape, 0.7 * radius / spacing_mm)
    cavity = (score <= 1.0) & (brain > 0.5) & (ventricle < 0.5)
    part = labels[window]
    if not remnant:
        part[np.isin(part, (Label.NCR, Label.ET))] = Label.SNFH
        if rng.random() < BARE_SHARE / (1 - REMNANT_SHARE):
            part[:] = Label.BACKGROUND
    part[cavity] = Label.RC


def _outwards(centre: Point) -> Point:
    """From the centre to beyond the brain, upwards and sideways, where a surgeon comes from."""
    out = np.array(centre) * np.array([1.0, 0.8, 0.5]) + np.array([0.0, 0.0, 15.0])
    path: Point = out / max(float(np.linalg.norm(out)), 1.0) * 75.0
    return path


def _ventricle_near(centre: Point, ventricle: Field, spacing_mm: float) -> Point | None:
    """The ventricle's voxel nearest to the centre, where there is one within 40 mm."""
    found = np.argwhere(ventricle > 0.5)
    if found.size == 0:
        return None
    places = (found - (np.array(ventricle.shape) - 1) / 2) * spacing_mm
    squared = ((places - centre) ** 2).sum(axis=1)
    nearest: Point = places[int(squared.argmin())]
    return nearest if squared.min() < 1600.0 else None


def _distance_to_path(away: list[Field], start: Point, end: Point) -> Field:
    """Distance to the straight way from start to end, mm; both relative to the centre of `away`."""
    way = end - start
    length = max(float(way @ way), 1e-6)
    along = sum(a * np.float32(w / length) for a, w in zip(away, way, strict=True)) - np.float32(start @ way / length)
    along = np.clip(along, 0.0, 1.0)
    squared = sum((a - np.float32(s) - along * np.float32(w)) ** 2 for a, s, w in zip(away, start, way, strict=True))
    distance: Field = np.sqrt(np.asarray(squared, dtype=np.float32))
    return distance
