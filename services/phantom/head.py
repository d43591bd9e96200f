"""What lies around the brain: CSF, skull with marrow, scalp, a plain face with eyes and air, a neck.

Shells of the distance to the brain, so that skull stripping and defacing have something to do. Head frame, RAS mm.
No likeness: every head has the same schematic face.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.phantom.anatomy import grid_points
from services.phantom.deformation import Points, box_grid, sample, smooth_noise
from services.phantom.signal import Matter
from services.phantom.tumour import Body

Map = NDArray[np.float32]

_SPACING_MM = 3.0
_EYES = ((-33.0, 66.0, -42.0), (33.0, 66.0, -42.0))
_EYE_RADIUS_MM = 12.0


def surround(rng: np.random.Generator, body: Body, points: Points, brain: Map) -> Mapping[Matter, Map]:
    """Fractions of everything but brain at head points (3, n); with `brain` they sum to at most 1, air is the rest."""
    distance, wave = _distance(rng, body, points)
    layers = np.cumsum(rng.uniform((2.0, 1.2, 2.0, 1.2, 3.0), (4.0, 2.2, 4.5, 2.2, 7.0)))
    depth = distance * (1 + 0.12 * wave)
    csf, inner, marrow, outer, scalp = (
        _step(depth, low) - _step(depth, high)
        for low, high in zip(np.concatenate([[-9.0], layers[:-1]]), layers, strict=True)
    )
    soft = _soft_body(points) * _step(depth, layers[3])
    scalp = np.maximum(scalp - soft, 0)
    lean = np.clip(0.65 + 0.35 * wave, 0, 1)
    eyes, air = _eyes(points), _airways(points) * _step(depth, layers[3])
    free = (1 - brain) * (1 - air)
    parts = {
        Matter.CSF: csf,
        Matter.BONE: inner + outer,
        Matter.MARROW: marrow,
        Matter.FAT: 0.8 * scalp + soft * (1 - lean),
        Matter.MUSCLE: 0.2 * scalp + soft * lean,
    }
    shown = {name: (part * free * (1 - eyes)).astype(np.float32) for name, part in parts.items()}
    return shown | {Matter.VITREOUS: (eyes * (1 - brain)).astype(np.float32)}


def _distance(rng: np.random.Generator, body: Body, points: Points) -> tuple[Map, Map]:
    """Distance to the brain in mm and a smooth random wave of unit variance, at the points."""
    grid = box_grid((-126.0, -156.0, -160.0), (126.0, 126.0, 126.0), _SPACING_MM)
    brain = body.brain_at(grid_points(grid)).reshape(grid.shape) > 0.5
    closed = ndimage.binary_closing(brain, iterations=3)
    outside = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    distance = ndimage.gaussian_filter((outside * _SPACING_MM).astype(np.float32), 1.0)
    wave = smooth_noise(rng, grid, 30.0)
    return sample(distance, grid, points, outside=200.0), sample(wave, grid, points)


def _step(depth: Map, at_mm: float) -> Map:
    """0 to 1 across 1.4 mm around a depth."""
    risen: Map = np.clip((depth - np.float32(at_mm)) / np.float32(1.4) + np.float32(0.5), 0, 1)
    return risen


def _ellipsoid(points: Points, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Map:
    """1 inside, 0 outside, fading over about 3 mm."""
    offset = (points - np.array(centre, dtype=np.float32)[:, None]) / np.array(radii, dtype=np.float32)[:, None]
    radius = np.sqrt((offset**2).sum(axis=0))
    inside: Map = np.clip((1 - radius) * (min(radii) / 3.0) + 0.5, 0, 1)
    return inside


def _soft_body(points: Points) -> Map:
    """Face and neck."""
    face = _ellipsoid(points, (0.0, 42.0, -62.0), (62.0, 54.0, 66.0))
    neck = _ellipsoid(points, (0.0, -32.0, -130.0), (60.0, 66.0, 110.0))
    joined: Map = np.maximum(face, neck)
    return joined


def _eyes(points: Points) -> Map:
    radii = (_EYE_RADIUS_MM,) * 3
    pair: Map = np.maximum(*(_ellipsoid(points, centre, radii) for centre in _EYES))
    return pair


def _airways(points: Points) -> Map:
    """Nasal cavity and throat."""
    nose = _ellipsoid(points, (0.0, 62.0, -58.0), (11.0, 26.0, 18.0))
    throat = _ellipsoid(points, (0.0, 14.0, -92.0), (9.0, 10.0, 46.0))
    open_: Map = np.maximum(nose, throat)
    return open_
