"""Which tumour: genotype, place, growth law and look are drawn; then it grows in the individual's brain.

The looks follow the genotype with probabilities from the literature, so that a perfect reader stays imperfect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Grid
from services.phantom.anatomy import FIELD_SPACING_MM, Anatomy, head_grid
from services.phantom.deformation import Deformation, Points, grid_points, sample, transform
from services.phantom.genotype import CALCIFIED, MISMATCH, draw_type, genotype_of
from services.phantom.growth import GrowthLaw, diffusivity, grow
from services.phantom.mass_effect import push
from services.phantom.spec import Genotype, Kind

_SITES: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "frontal": (27.0, 34.0, 22.0),
        "temporal": (46.0, -18.0, -14.0),
        "insular": (36.0, 6.0, 2.0),
        "parietal": (32.0, -42.0, 36.0),
        "occipital": (26.0, -74.0, 10.0),
        "periventricular": (24.0, -14.0, 28.0),
        "thalamus": (12.0, -16.0, 8.0),
        "pons": (4.0, -26.0, -30.0),
    }
)
"""Centres in MNI space, right side, mm."""

_PLACES: Mapping[Kind, tuple[tuple[str, float], ...]] = MappingProxyType(
    {
        Kind.GLIOBLASTOMA: (
            ("temporal", 0.35), ("frontal", 0.25), ("periventricular", 0.15), ("parietal", 0.17), ("occipital", 0.08),
        ),
        Kind.ASTROCYTOMA: (("frontal", 0.45), ("insular", 0.3), ("temporal", 0.15), ("parietal", 0.1)),
        Kind.OLIGODENDROGLIOMA: (("frontal", 0.65), ("temporal", 0.15), ("parietal", 0.15), ("insular", 0.05)),
        Kind.MIDLINE: (("thalamus", 0.55), ("pons", 0.45)),
    }
)  # fmt: skip


SULCUS_MM = 8.0
"""A tumour on both sides of a gap this wide fills it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranges:
    """Ranges of the growth law and of the look; sources as in the README."""

    diffusivity: tuple[float, float]
    ratio: tuple[float, float]
    proliferation: tuple[float, float]
    core: tuple[float, float]
    oedema: tuple[float, float]
    push_mm: tuple[float, float]


_RANGES: Mapping[Kind, _Ranges] = MappingProxyType(
    {
        Kind.GLIOBLASTOMA: _Ranges(
            diffusivity=(0.08, 0.25), ratio=(5, 15), proliferation=(0.015, 0.035),
            core=(0.18, 0.5), oedema=(0.6, 0.9), push_mm=(2.0, 10.0),
        ),
        Kind.ASTROCYTOMA: _Ranges(
            diffusivity=(0.03, 0.12), ratio=(3, 8), proliferation=(0.003, 0.012),
            core=(0.45, 0.8), oedema=(0.5, 0.8), push_mm=(0.5, 5.0),
        ),
        Kind.OLIGODENDROGLIOMA: _Ranges(
            diffusivity=(0.02, 0.08), ratio=(2, 5), proliferation=(0.002, 0.008),
            core=(0.5, 0.85), oedema=(0.5, 0.8), push_mm=(0.5, 4.0),
        ),
        Kind.MIDLINE: _Ranges(
            diffusivity=(0.05, 0.15), ratio=(2, 4), proliferation=(0.01, 0.03),
            core=(0.4, 0.8), oedema=(0.5, 0.85), push_mm=(0.5, 4.0),
        ),
    }
)  # fmt: skip


_ENHANCES: Mapping[Kind, float] = MappingProxyType(
    {Kind.GLIOBLASTOMA: 0.96, Kind.ASTROCYTOMA: 0.06, Kind.OLIGODENDROGLIOMA: 0.03, Kind.MIDLINE: 0.25}
)
_PATCHY: Mapping[Kind, float] = MappingProxyType(
    {Kind.GLIOBLASTOMA: 0.1, Kind.ASTROCYTOMA: 0.12, Kind.OLIGODENDROGLIOMA: 0.25, Kind.MIDLINE: 0.2}
)
"""How often a ring enhances, and how often spots of a core do that has no ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TumourPlan:
    """Everything about the tumour but its shape. `core_fraction` is TC over WT, `rim_mm` the enhancing rim."""

    kind: Kind
    genotype: Genotype
    site: str
    side: int
    law: GrowthLaw
    volume_ml: float
    core_fraction: float
    rim_mm: float
    enhances: bool
    patchy: bool
    oedema_strength: float
    push_mm: float
    mismatch: bool
    calcified: bool
    core_like_oedema: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Growth:
    """A grown tumour: `density` before, and `push` by, its mass effect. Grid in the head frame."""

    push: Deformation
    grid: Grid
    density: NDArray[np.float32]

    def log_density(self, points: Points) -> NDArray[np.float32]:
        """Natural logarithm of the cell density at head points (3, n), from -16 (none) to 0."""
        logarithm = np.log(np.maximum(self.density, 1.2e-7))
        return sample(logarithm, self.grid, self.push.at(points), outside=-16.0)

    def extent(self, faintest: float) -> tuple[Points, float]:
        """Corners (3, 8) of the box of densities above exp(`faintest`), and how far the push may have moved them."""
        filled = np.argwhere(self.density > np.exp(faintest))
        bounds = np.stack([filled.min(axis=0), filled.max(axis=0)])
        corners = np.stack(np.meshgrid(*bounds.T, indexing="ij")).reshape(3, 8)
        return transform(self.grid.affine, corners), self.push.largest_mm()


def draw_plan(rng: np.random.Generator, kind: Kind) -> TumourPlan:
    """A tumour of that kind."""
    found = draw_type(rng, kind)
    genotype = genotype_of(rng, found)
    ranges = _RANGES[kind]
    names, weights = zip(*_PLACES[kind], strict=True)
    site = str(rng.choice(names, p=weights))
    if genotype.h3k27m and rng.random() < 0.9:
        site = str(rng.choice(["thalamus", "pons"]))
    law = GrowthLaw(
        diffusivity_white=_log_uniform(rng, *ranges.diffusivity),
        white_over_grey=float(rng.uniform(*ranges.ratio)),
        proliferation=_log_uniform(rng, *ranges.proliferation),
    )
    volume = _log_uniform(rng, 15.0, 120.0)
    return TumourPlan(
        kind=kind, genotype=genotype, site=site, side=int(rng.choice([-1, 1])), law=law, volume_ml=volume,
        core_fraction=float(rng.uniform(*ranges.core)), rim_mm=float(rng.uniform(1.8, 5.0)),
        enhances=bool(rng.random() < _ENHANCES[kind]), patchy=bool(rng.random() < _PATCHY[kind]),
        oedema_strength=float(rng.uniform(*ranges.oedema)), push_mm=float(rng.uniform(*ranges.push_mm)),
        mismatch=bool(rng.random() < MISMATCH[found]), calcified=bool(rng.random() < CALCIFIED[found]),
        core_like_oedema=bool(rng.random() < 0.25),
    )  # fmt: skip


def grow_in(rng: np.random.Generator, anatomy: Anatomy, plan: TumourPlan, spacing_mm: float) -> tuple[Anatomy, Growth]:
    """Grows the planned tumour on a grid of max(2 mm, `spacing_mm`); returns the brain pushed aside, and the growth."""
    grid = head_grid(max(2.0, spacing_mm))
    tissues = anatomy.tissues(grid_points(grid))
    white, grey = (part.reshape(grid.shape) for part in (tissues.white, tissues.grey))
    conductance = diffusivity(plan.law, white, grey)
    seed = _seed(rng, conductance, plan, anatomy, grid)
    density = grow(conductance, seed, plan.law, grid.spacing[0], plan.volume_ml)
    gap = max(3, 2 * round(SULCUS_MM / (2 * grid.spacing[0])) + 1)
    density = ndimage.grey_closing(density, size=(gap, gap, gap))
    field = anatomy.deformation.grid
    points = grid_points(field)
    smooth = ndimage.gaussian_filter(density, 0.5 * FIELD_SPACING_MM / grid.spacing[0])
    around = anatomy.tissues(points)
    moved = push(
        sample(smooth, grid, points).reshape(field.shape),
        around.csf.reshape(field.shape),
        around.brain.reshape(field.shape),
        field,
        plan.push_mm * min(1.0, (plan.volume_ml / 50.0) ** (1 / 3)),
    )
    return anatomy.pushed(moved), Growth(push=moved, grid=grid, density=density)


def _seed(
    rng: np.random.Generator, conductance: NDArray[np.float32], plan: TumourPlan, anatomy: Anatomy, grid: Grid
) -> tuple[int, int, int]:
    """A conducting voxel near the site, deeper in white matter the more likely."""
    open_ = np.flatnonzero(conductance)
    there = anatomy.in_atlas(grid_points(grid)[:, open_])
    centre = np.array(_SITES[plan.site], dtype=np.float32) * np.array([plan.side, 1, 1], dtype=np.float32)
    distance = ((there - centre[:, None]) ** 2).sum(axis=0)
    weight = np.exp(-distance.astype(np.float64) / (2 * 10.0**2)) * conductance.reshape(-1)[open_]
    chosen = int(rng.choice(open_, p=weight / weight.sum()))
    i, j, k = np.unravel_index(chosen, grid.shape)
    return int(i), int(j), int(k)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
