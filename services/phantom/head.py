"""What lies around the brain: CSF, skull with marrow, scalp, a plain face with eyes and air, a neck.

Shells of the distance to the brain, so that skull stripping and defacing have something to do. Head frame, RAS mm.
No likeness: every head has the same schematic face.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Array, Grid
from services.phantom.anatomy import Anatomy
from services.phantom.deformation import Points, box_grid, grid_points, sample, smooth_noise
from services.phantom.signal import Matter

Map = NDArray[np.float32]

_SPACING_MM = 3.0
_EYES = ((-33.0, 66.0, -42.0), (33.0, 66.0, -42.0))
_EYE_RADIUS_MM = 12.0


def surround(rng: np.random.Generator, anatomy: Anatomy, points: Points, brain: Map) -> Mapping[Matter, Map]:
    """Fractions of everything but brain at head points (3, n); with `brain` they sum to at most 1, air is the rest."""
    grid = box_grid((-126.0, -156.0, -160.0), (126.0, 126.0, 126.0), _SPACING_MM)
    distance = _distance(anatomy, grid)
    wave = smooth_noise(rng, grid, 30.0)
    layers = np.cumsum(rng.uniform((1.0, 0.6, 1.0, 1.5, 1.0, 3.0), (2.5, 1.2, 2.0, 3.5, 2.0, 6.0)))
    body = _soft_body(grid_points(grid)).reshape(grid.shape)
    reach = ndimage.maximum_filter((distance < 2.0 * layers[-1]) | (body > 0), 3)
    filled = np.flatnonzero((sample(reach.astype(np.float32), grid, points) > 0) & (brain < 1))
    close = points[:, filled]
    parts = _layers(close, sample(distance, grid, close, outside=200.0), sample(wave, grid, close), layers)
    free = 1 - brain[filled]
    shown: dict[Matter, Map] = {}
    for matter, part in parts.items():
        shown[matter] = np.zeros(points.shape[1], dtype=np.float32)
        shown[matter][filled] = part * free
    return shown


def _layers(points: Points, distance: Map, wave: Map, layers: Array) -> Mapping[Matter, Map]:
    """Fractions outside the brain. `layers`: where CSF, dura, inner table, marrow, outer table and scalp end, mm."""
    depth = distance * (1 + 0.12 * wave)
    csf, dura, inner, marrow, outer, scalp = (
        _step(depth, low) - _step(depth, high) for low, high in pairwise([-9.0, *layers])
    )
    under_skin = _step(depth, layers[4])
    soft = _soft_body(points) * under_skin
    scalp = np.maximum(scalp - soft, 0)
    lean = np.clip(0.8 + 0.3 * wave, 0, 1)
    eyes = _eyes(points) * under_skin
    free = (1 - _airways(points) * under_skin) * (1 - eyes)
    parts = {
        Matter.CSF: csf,
        Matter.DURA: dura,
        Matter.BONE: inner + outer,
        Matter.MARROW: marrow,
        Matter.FAT: 0.8 * scalp + soft * (1 - lean),
        Matter.MUSCLE: 0.2 * scalp + soft * lean,
    }
    return {matter: part * free for matter, part in parts.items()} | {Matter.VITREOUS: eyes}


def _distance(anatomy: Anatomy, grid: Grid) -> Map:
    """Distance to the brain in mm on a grid of the head frame, negative inside."""
    brain = anatomy.brain_at(grid_points(grid)).reshape(grid.shape) > 0.5
    closed = ndimage.binary_closing(brain, iterations=3)
    outside = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    distance: Map = ndimage.gaussian_filter((outside * _SPACING_MM).astype(np.float32), 1.0)
    return distance


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
