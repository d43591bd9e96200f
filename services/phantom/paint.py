"""Paints an individual onto an image grid: fractions of every matter at every voxel, labels and the brain mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.core.imaging.volume import Affine, Array, Grid
from services.phantom.anatomy import Anatomy, Tissues, head_grid
from services.phantom.deformation import Points, grid_points, sample, smooth_noise, transform
from services.phantom.head import surround
from services.phantom.lesion import FAINTEST, Surroundings, draw_labels, soft_fractions
from services.phantom.signal import Matter
from services.phantom.spec import stream
from services.phantom.tumour import Growth, TumourPlan

Map = NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Everything that an image shows, on one grid. `texture` multiplies every signal."""

    grid: Grid
    fractions: Mapping[Matter, Map]
    brain: Map
    texture: Map
    labels: NDArray[np.uint8]
    core_depth_mm: Map | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesion:
    """A planned tumour, grown."""

    plan: TumourPlan
    growth: Growth


def paint(seed: int, anatomy: Anatomy, lesion: Lesion | None, grid: Grid, to_head: Affine, *, skull: bool) -> Scene:
    """The scene on `grid` (scanner RAS); `to_head` maps scanner RAS to head RAS, rigidly."""
    points = transform(to_head, grid_points(grid))
    tissues = anatomy.tissues(points)
    vessels = _vessels(stream("vessels", seed), points, tissues.csf)
    vessels = np.maximum(vessels, _plexus(stream("plexus", seed), points, tissues))
    spots = _white_matter_lesions(stream("age", seed), points, tissues.white)
    kept = 1 - tissues.deep
    fractions: dict[Matter, Map] = {
        Matter.WHITE: (tissues.white - spots) * kept,
        Matter.GREY: tissues.grey * kept,
        Matter.DEEP: (tissues.white - spots + tissues.grey) * tissues.deep,
        Matter.LESION: spots,
        Matter.CSF: tissues.csf - vessels,
        Matter.VESSEL: vessels,
    }
    if skull:
        for matter, part in surround(stream("head", seed), anatomy, points, tissues.brain).items():
            fractions[matter] = fractions[matter] + part if matter in fractions else part
    fractions = {matter: part.reshape(grid.shape) for matter, part in fractions.items()}
    labels = np.zeros(grid.shape, dtype=np.uint8)
    depth = None
    if lesion is not None:
        depth = _add_lesion(stream("lesion", seed), lesion, (grid, to_head), fractions, labels)
    rng = stream("texture", seed)
    texture = 1 + 0.02 * smooth_noise(rng, grid, 3.0) + 0.02 * smooth_noise(rng, grid, 9.0)
    return Scene(
        grid=grid, fractions=fractions, brain=tissues.brain.reshape(grid.shape), texture=texture.astype(np.float32),
        labels=labels, core_depth_mm=depth,
    )  # fmt: skip


def _vessels(rng: np.random.Generator, points: Points, csf: Map) -> Map:
    """Fraction of vessel at head points: random curves, where two smooth fields vanish at once, in narrow CSF."""
    grid = head_grid(3.0)
    fields = [smooth_noise(rng, grid, 18.0) for _ in range(2)]
    narrow = 4 * csf * (1 - csf)  # sulci, not ventricles
    wet = np.flatnonzero(narrow > 0.05)
    apart = np.hypot(*(sample(field, grid, points[:, wet]) for field in fields))
    vessels = np.zeros_like(csf)
    vessels[wet] = np.clip(1.3 - apart * 5, 0, 1) * (csf * narrow)[wet]
    return vessels


def _plexus(rng: np.random.Generator, points: Points, tissues: Tissues) -> Map:
    """Fraction of choroid plexus, which enhances as vessels do: strands inside the ventricles, in most brains."""
    if rng.random() < 0.3:
        return np.zeros_like(tissues.csf)
    grid = head_grid(3.0)
    field = smooth_noise(rng, grid, 15.0)
    wet = np.flatnonzero(tissues.ventricle * tissues.csf > 0.3)
    plexus = np.zeros_like(tissues.csf)
    strand = np.clip(1 - np.abs(sample(field, grid, points[:, wet])) * 5, 0, 1)
    plexus[wet] = np.float32(rng.uniform(0.15, 0.5)) * strand * tissues.csf[wet]
    return plexus


def _white_matter_lesions(rng: np.random.Generator, points: Points, white: Map) -> Map:
    """Fraction of old small-vessel lesions: spots of 3 to 8 mm in white matter, in half of the brains."""
    spots = np.zeros_like(white)
    if rng.random() < 0.5:
        return spots
    grid = head_grid(2.5)
    field = smooth_noise(rng, grid, float(rng.uniform(6.0, 10.0)))
    pure = np.flatnonzero(white > 0.6)
    raised = sample(field, grid, points[:, pure]) - np.float32(rng.uniform(2.0, 2.8))
    spots[pure] = np.clip(raised * 4, 0, 0.8) * white[pure]
    return spots


def _add_lesion(
    rng: np.random.Generator,
    lesion: Lesion,
    place: tuple[Grid, Affine],
    fractions: dict[Matter, Map],
    labels: NDArray[np.uint8],
) -> Map:
    """Writes labels and fractions in place; returns the depth below the core's surface in mm."""
    grid, to_head = place
    box = _lesion_box(lesion.growth, grid, to_head)
    local = subgrid(grid, box)
    points = transform(to_head, grid_points(local))
    here = Surroundings(
        grid=local, points=points, log_density=lesion.growth.log_density(points).reshape(local.shape),
        white=fractions[Matter.WHITE][box], grey=fractions[Matter.GREY][box] + fractions[Matter.DEEP][box],
    )  # fmt: skip
    labels[box] = draw_labels(rng, here, lesion.plan)
    parts = soft_fractions(rng, here, labels[box], lesion.plan)
    left = 1 - sum(parts.values())
    for fraction in fractions.values():
        fraction[box] *= left
    for matter, part in parts.items():
        fractions[matter] = np.zeros(grid.shape, dtype=np.float32)
        fractions[matter][box] = part
    solid = (labels[box] == Label.NCR) | (labels[box] == Label.ET)
    depth = np.zeros(grid.shape, dtype=np.float32)
    depth[box] = ndimage.distance_transform_edt(solid, sampling=grid.spacing)
    return depth


def _lesion_box(growth: Growth, grid: Grid, to_head: Affine) -> Box:
    """The voxels that the lesion can reach; at least one."""
    corners, moved = growth.extent(FAINTEST)
    index = transform(np.linalg.inv(to_head @ grid.affine), corners)
    margin = (moved + 2 * growth.grid.spacing[0]) / min(grid.spacing)
    return box_around(index, margin, grid.shape)


def box_around(index: Array, margin: float, shape: tuple[int, int, int]) -> Box:
    """Box of voxels around voxel indices (3, n), `margin` voxels wider where there is room; never empty."""
    start = np.clip(np.floor(index.min(axis=1) - margin), 0, np.array(shape) - 1).astype(int)
    stop = np.clip(np.ceil(index.max(axis=1) + margin) + 1, start + 1, shape).astype(int)
    x, y, z = (slice(int(low), int(high)) for low, high in zip(start, stop, strict=True))
    return x, y, z


def subgrid(grid: Grid, box: Box) -> Grid:
    """The part of a grid inside a box of voxels."""
    start = np.array([part.start for part in box], dtype=float)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.affine[:3, :3] @ start + grid.affine[:3, 3]
    x, y, z = (part.stop - part.start for part in box)
    return Grid(shape=(x, y, z), affine=affine)
