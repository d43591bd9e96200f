"""Paints an individual onto an image grid: fractions of every matter at every voxel, labels and the brain mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Affine, Grid
from services.phantom.anatomy import grid_points
from services.phantom.deformation import smooth_noise, transform
from services.phantom.head import surround
from services.phantom.lesion import FAINTEST, Surroundings, draw_labels, soft_fractions
from services.phantom.signal import Matter
from services.phantom.spec import stream
from services.phantom.tumour import Body, TumourPlan, tissues_at

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


def paint(seed: int, body: Body, plan: TumourPlan | None, grid: Grid, to_head: Affine, *, skull: bool) -> Scene:
    """The scene on `grid` (scanner RAS); `to_head` maps scanner RAS to head RAS, rigidly."""
    points = transform(to_head, grid_points(grid))
    tissues = tissues_at(body, points)
    fractions: dict[Matter, Map] = {Matter.WHITE: tissues.white, Matter.GREY: tissues.grey, Matter.CSF: tissues.csf}
    if skull:
        for matter, part in surround(stream("head", seed), body, points, tissues.brain).items():
            fractions[matter] = fractions[matter] + part if matter in fractions else part
    fractions = {matter: part.reshape(grid.shape) for matter, part in fractions.items()}
    labels = np.zeros(grid.shape, dtype=np.uint8)
    depth = None
    if plan is not None:
        box = _tumour_box(body.log_density(points).reshape(grid.shape))
        depth = _add_tumour(stream("lesion", seed), body, plan, (grid, to_head, box), fractions, labels)
    rng = stream("texture", seed)
    texture = 1 + 0.02 * smooth_noise(rng, grid, 3.0) + 0.02 * smooth_noise(rng, grid, 9.0)
    return Scene(
        grid=grid, fractions=fractions, brain=tissues.brain.reshape(grid.shape), texture=texture.astype(np.float32),
        labels=labels, core_depth_mm=depth,
    )  # fmt: skip


def _add_tumour(
    rng: np.random.Generator,
    body: Body,
    plan: TumourPlan,
    place: tuple[Grid, Affine, Box],
    fractions: dict[Matter, Map],
    labels: NDArray[np.uint8],
) -> Map:
    """Writes labels and fractions in place; returns the depth below the core's surface in mm."""
    grid, to_head, box = place
    local = subgrid(grid, box)
    density = body.log_density(transform(to_head, grid_points(local))).reshape(local.shape)
    here = Surroundings(
        grid=local, log_density=density, white=fractions[Matter.WHITE][box], grey=fractions[Matter.GREY][box]
    )
    labels[box] = draw_labels(rng, here, plan)
    lesion = soft_fractions(rng, here, labels[box], plan)
    left = 1 - sum(lesion.values())
    for part in fractions.values():
        part[box] *= left
    for matter, part in lesion.items():
        fractions[matter] = np.zeros(grid.shape, dtype=np.float32)
        fractions[matter][box] = part
    solid = (labels[box] == 1) | (labels[box] == 3)
    depth = np.zeros(grid.shape, dtype=np.float32)
    depth[box] = ndimage.distance_transform_edt(solid, sampling=grid.spacing)
    return depth


def subgrid(grid: Grid, box: Box) -> Grid:
    """The part of a grid inside a box of voxels."""
    start = np.array([part.start for part in box], dtype=float)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.affine[:3, :3] @ start + grid.affine[:3, 3]
    x, y, z = (part.stop - part.start for part in box)
    return Grid(shape=(x, y, z), affine=affine)


def bounding_box(mask: NDArray[np.bool_], margin: int) -> Box:
    """Box around the true voxels, `margin` wider where there is room. The mask must not be empty."""
    bounds = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds.append(slice(max(0, int(filled[0]) - margin), min(mask.shape[axis], int(filled[-1]) + margin + 1)))
    return bounds[0], bounds[1], bounds[2]


def _tumour_box(log_density: Map) -> Box:
    return bounding_box(log_density > FAINTEST, 4)
