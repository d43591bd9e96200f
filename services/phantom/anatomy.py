"""Individual healthy brains from one atlas: tissue maps, random size, side and diffeomorphic shape, ventricles.

Head frame: RAS mm, origin near the anterior commissure as in MNI space. Synthetic; one template, so every brain here
has its folds. Atlas: MNI ICBM 152 nonlinear symmetric 2009a (see assets/MNI-LICENCE.txt).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Affine, Grid
from services.phantom.deformation import (
    Deformation,
    Field,
    Points,
    after,
    box_grid,
    grid_points,
    integrate,
    random_velocity,
    sample,
    smooth_noise,
    transform,
)

FIELD_SPACING_MM = 5.0
SHARPNESS = 1.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atlas:
    """Probabilities 0 to 1 on one grid (1.5 mm, RAS). `brain` holds CSF inside the skull; grey + white <= brain.
    `deep`: thalamus, putamen, pallidum and caudate as soft ellipsoids (share of the tissue there). `middle`: corners
    (2, 3) of the box in RAS mm beyond which `deep` and `ventricle` are zero.
    """

    grid: Grid
    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    brain: NDArray[np.float32]
    ventricle: NDArray[np.float32]
    deep: NDArray[np.float32]
    middle: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tissues:
    """Fractions at points, shape (n,) each: white + grey + csf = brain, which is 1 inside the skull and 0 outside.

    `deep`: which share of white and grey belongs to deep nuclei. `ventricle`: which CSF is ventricle.
    """

    white: NDArray[np.float32]
    grey: NDArray[np.float32]
    csf: NDArray[np.float32]
    brain: NDArray[np.float32]
    deep: NDArray[np.float32]
    ventricle: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anatomy:
    """One individual: a point of the head is taken from `to_atlas` of the deformed point of the atlas.

    `folds` shifts the borders between tissues, `near` is above zero within a voxel of the brain; both lie on the
    deformation's grid. Made by `individual`.
    """

    atlas: Atlas
    to_atlas: Affine
    deformation: Deformation
    folds: NDArray[np.float32]
    near: NDArray[np.float32]

    def in_atlas(self, points: Points) -> Points:
        """Head points (3, n) as atlas points, RAS mm."""
        return transform(self.to_atlas, self.deformation.at(points))

    def brain_at(self, points: Points) -> NDArray[np.float32]:
        """Brain fraction (CSF inside the skull counts) at head points (3, n)."""
        return sample(self.atlas.brain, self.atlas.grid, self.in_atlas(points))

    def tissues(self, points: Points) -> Tissues:
        """Tissue fractions at head points (3, n), sharpened from the atlas's averages to one person's borders.

        Points far from the brain cost next to nothing.
        """
        inside = np.flatnonzero(sample(self.near, self.deformation.grid, points) > 0)
        close = points[:, inside]
        there = self.in_atlas(close)
        grey, white, brain = (
            sample(values, self.atlas.grid, there) for values in (self.atlas.grey, self.atlas.white, self.atlas.brain)
        )
        shift = sample(self.folds, self.deformation.grid, close)
        spread = np.zeros((6, points.shape[1]), dtype=np.float32)
        for row, part in enumerate((*_sharpened(grey, white, brain, shift), brain)):
            spread[row, inside] = part
        middle = _between(there, self.atlas.middle)
        for row, values in ((4, self.atlas.deep), (5, self.atlas.ventricle)):
            spread[row, inside[middle]] = sample(values, self.atlas.grid, there[:, middle])
        return Tissues(
            white=spread[0], grey=spread[1], csf=spread[2], brain=spread[3], deep=spread[4], ventricle=spread[5]
        )

    def pushed(self, push: Deformation) -> Anatomy:
        """The same person after a displacement (a pull-back in the head frame)."""
        grid = self.deformation.grid
        folds = sample(self.folds, grid, push.at(grid_points(grid))).reshape(grid.shape)
        return individual(self.atlas, self.to_atlas, after(push, self.deformation), folds)


def individual(atlas: Atlas, to_atlas: Affine, deformation: Deformation, folds: NDArray[np.float32]) -> Anatomy:
    """Puts an individual together."""
    there = transform(to_atlas, deformation.at(grid_points(deformation.grid)))
    brain = sample(atlas.brain, atlas.grid, there).reshape(deformation.grid.shape)
    near: NDArray[np.float32] = ndimage.maximum_filter(brain, 3)
    return Anatomy(atlas=atlas, to_atlas=to_atlas, deformation=deformation, folds=folds, near=near)


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Reads the packaged atlas once; its arrays are read-only."""
    with resources.files("services.phantom").joinpath("assets/mni_tissues.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        maps = {name: stored[name].astype(np.float32) / np.float32(255) for name in stored.files if name != "affine"}
        affine = stored["affine"]
    x, y, z = maps["brain"].shape
    grid = Grid(shape=(x, y, z), affine=affine)
    maps["deep"] = _nuclei(grid)
    for values in maps.values():
        values.flags.writeable = False
    central = np.argwhere((maps["deep"] > 0) | (maps["ventricle"] > 0))
    corners = np.stack([central.min(axis=0) - 2, central.max(axis=0) + 2])
    return Atlas(grid=grid, middle=corners @ grid.affine[:3, :3].T + grid.affine[:3, 3], **maps)


_NUCLEI = (  # centre (right side) and half axes in MNI space, mm
    ((11.0, -18.0, 8.0), (8.5, 13.0, 8.0)),
    ((26.0, 4.0, 1.0), (4.5, 14.0, 9.0)),
    ((19.0, -3.0, 0.0), (4.0, 7.5, 6.0)),
    ((13.0, 13.0, 9.0), (4.5, 8.0, 8.0)),
)
"""Thalamus, putamen, pallidum, head of the caudate; rounded from atlases of the template."""


def _nuclei(grid: Grid) -> NDArray[np.float32]:
    x, y, z = (grid.affine[a, a] * np.arange(n) + grid.affine[a, 3] for a, n in enumerate(grid.shape))
    share = np.zeros(grid.shape, dtype=np.float32)
    for centre, axes in _NUCLEI:
        along = [((values - c) / a) ** 2 for values, c, a in zip((np.abs(x), y, z), centre, axes, strict=True)]
        squared = along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]
        share = np.maximum(share, np.clip((1.15 - np.sqrt(squared)) / 0.3, 0, 1).astype(np.float32))
    return share


def head_grid(spacing_mm: float) -> Grid:
    """The box of the head frame that holds every brain made here, at any spacing."""
    return box_grid((-88.0, -122.0, -86.0), (88.0, 88.0, 98.0), spacing_mm)


def random_anatomy(rng: np.random.Generator, atlas: Atlas) -> Anatomy:
    """A new individual: scale 0.85 to 1.04 per axis (the template is large), side, two scales of deformation, wider
    ventricles (up to 4 mm), wider sulci (atrophy).
    """
    grid = head_grid(FIELD_SPACING_MM)
    scale = rng.uniform(0.88, 1.01) * rng.uniform(0.97, 1.03, 3)
    to_atlas: Affine = np.diag([*(1.0 / scale), 1.0])
    if rng.random() < 0.5:
        to_atlas[0, 0] = -to_atlas[0, 0]
    velocity = random_velocity(rng, grid, 45.0, rng.uniform(1.5, 3.5))
    velocity += random_velocity(rng, grid, 20.0, rng.uniform(0.6, 1.4))
    velocity += _widening(atlas, grid, to_atlas, rng.uniform(-0.5, 4.0))
    folds = smooth_noise(rng, grid, 14.0) * np.float32(0.35) - np.float32(rng.uniform(0.0, 0.45))
    return individual(atlas, to_atlas, integrate(velocity, grid), folds)


def _widening(atlas: Atlas, grid: Grid, to_atlas: Affine, amount_mm: float) -> Field:
    """Velocity towards the ventricles' middle: values there are spread outwards by about `amount_mm`."""
    ventricle = sample(atlas.ventricle, atlas.grid, transform(to_atlas, grid_points(grid)))
    soft = ndimage.gaussian_filter(ventricle.reshape(grid.shape), 5.0 / FIELD_SPACING_MM)
    gradient = np.stack(np.gradient(soft))
    longest = float(np.sqrt((gradient**2).sum(axis=0)).max()) + 1e-9
    pull: Field = (gradient * (amount_mm / longest)).astype(np.float32)
    return pull


def _between(points: Points, corners: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which points (3, n) lie in a box of RAS mm."""
    inside = np.ones(points.shape[1], dtype=bool)
    for values, low, high in zip(points, corners.min(axis=0), corners.max(axis=0), strict=True):
        inside &= (values > low) & (values < high)
    return np.flatnonzero(inside)


def _sharpened(
    grey: NDArray[np.float32], white: NDArray[np.float32], brain: NDArray[np.float32], shift: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """White, grey and CSF: a power of each averaged fraction, renewed sum; `shift` moves the borders of the folds."""
    csf = np.clip(brain - grey - white, 0, None)
    bend = np.exp(shift)
    parts = (white**SHARPNESS * bend, grey**SHARPNESS, csf**SHARPNESS * (np.float32(1.6) / bend))
    share = brain / np.maximum(parts[0] + parts[1] + parts[2], np.float32(1e-6))
    return parts[0] * share, parts[1] * share, parts[2] * share
