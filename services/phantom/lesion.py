"""From cell density to labels and soft fractions on an image grid (schema glioserve.labels.v1).

Core: round and lobulated, inside. Oedema: runs along white matter in fingers, spares cortex and CSF. Enhancing rim: the
outer shell of the core with a thickness in mm. In a non-enhancing tumour the solid core carries label NCR, as BraTS
does with non-enhancing tumour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.core.imaging.volume import Grid
from services.phantom.anatomy import head_grid
from services.phantom.deformation import Points, sample, smooth_noise
from services.phantom.signal import Matter
from services.phantom.tumour import TumourPlan

FINGERS = 3.0
RUGGED = 0.6
FAINTEST = -9.0
"""Natural logarithm of the lowest density that can still be part of the lesion."""

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surroundings:
    """What the lesion grows into, on the image grid: log density, tissue fractions, and where in the head (3, n)."""

    grid: Grid
    points: Points
    log_density: Map
    white: Map
    grey: Map

    def noise(self, rng: np.random.Generator, scale_mm: float) -> Map:
        """Smooth noise that belongs to the head, not to the grid: the same at every visit and every spacing."""
        grid = head_grid(scale_mm / 3.0)
        noise = sample(smooth_noise(rng, grid, scale_mm), grid, self.points)
        return noise.reshape(self.grid.shape)


def draw_labels(rng: np.random.Generator, here: Surroundings, plan: TumourPlan) -> NDArray[np.uint8]:
    """Labels whose WT has the plan's volume and whose TC has the plan's share of it, to a few voxels."""
    labels = np.zeros(here.grid.shape, dtype=np.uint8)
    core = _core(rng, here, plan)
    labels[_whole(rng, here, core, plan)] = Label.SNFH
    labels[core] = Label.NCR
    if plan.enhances:
        depth = ndimage.distance_transform_edt(core, sampling=here.grid.spacing) - 0.5 * here.grid.spacing[0]
        thickness = plan.rim_mm * np.exp(0.35 * here.noise(rng, 12.0))
        labels[core & (depth <= np.maximum(thickness, 1.0))] = Label.ET
    elif plan.patchy:
        labels[core & (here.noise(rng, 10.0) > 1.3)] = Label.ET
    return labels


def soft_fractions(
    rng: np.random.Generator, here: Surroundings, labels: NDArray[np.uint8], plan: TumourPlan
) -> Mapping[Matter, Map]:
    """Fractions of the tumour's tissues; what they leave over is the brain's own tissue."""
    spacing = here.grid.spacing[0]
    core, rim, around = (
        ndimage.gaussian_filter((labels == label).astype(np.float32), width / spacing)
        for label, width in ((Label.NCR, 0.6), (Label.ET, 0.5), (Label.SNFH, 1.2))
    )
    if not plan.enhances:
        core *= np.float32(0.82)  # infiltrated brain, not a mass that replaced it
    elif plan.core_like_oedema:
        core *= np.float32(plan.oedema_strength)
    strength = plan.oedema_strength * np.exp(0.15 * here.noise(rng, 10.0))
    around *= np.clip(strength, 0, 0.95)
    cells = np.clip(np.exp(here.log_density), 0, 1) * around
    parts = {Matter.ENHANCING: rim, Matter.CORE: core, Matter.INFILTRATED: cells, Matter.OEDEMA: around - cells}
    if plan.calcified:
        flecks = np.clip((here.noise(rng, 6.0) - 1.6) * 2, 0, 0.8) * (core + cells)
        parts = {name: part * (1 - flecks) for name, part in parts.items()} | {Matter.CALCIFIED: flecks}
    total = np.maximum(sum(parts.values()), np.float32(1.0))
    return {name: (part / total).astype(np.float32) for name, part in parts.items()}


def _core(rng: np.random.Generator, here: Surroundings, plan: TumourPlan) -> NDArray[np.bool_]:
    """The solid tumour: round, lobulated, no respecter of grey and white or of narrow sulci."""
    spacing = here.grid.spacing[0]
    radius = (3 * plan.volume_ml * plan.core_fraction * 1000 / (4 * np.pi)) ** (1 / 3)
    smooth = ndimage.gaussian_filter(np.exp(here.log_density), max(2.0, 0.28 * radius) / spacing)
    score = np.log(smooth + 1e-4) + 0.4 * here.noise(rng, 16.0) + 0.12 * here.noise(rng, 7.0)
    wanted = round(plan.volume_ml * plan.core_fraction / here.grid.voxel_ml)
    return _without_holes(_largest_of_size(np.where(_tissue(here), score, -np.inf), wanted), spacing)


def _whole(
    rng: np.random.Generator, here: Surroundings, core: NDArray[np.bool_], plan: TumourPlan
) -> NDArray[np.bool_]:
    """Core and oedema: where cells are sparse the border runs along white matter."""
    spacing = here.grid.spacing[0]
    fingers = FINGERS * (2 * ndimage.gaussian_filter(here.white, 2.0 / spacing) - 1)
    sparse = np.clip(1 - 1.2 * np.exp(here.log_density), 0, 1)
    score = ndimage.gaussian_filter(here.log_density, 1.0 / spacing) + fingers * sparse
    score += RUGGED * here.noise(rng, 9.0)
    score[core] = np.inf
    wanted = round(plan.volume_ml / here.grid.voxel_ml)
    ranked = np.where(_tissue(here) | core, score, -np.inf)
    size = float(wanted)
    best, least = core, float("inf")
    for _ in range(4):  # filling holes adds voxels: ask for fewer
        whole = _without_holes(_largest_of_size(ranked, max(1, round(size))) | core, spacing)
        excess = int(np.count_nonzero(whole)) - wanted
        if abs(excess) < least:
            best, least = whole, abs(excess)
        if least <= 0.02 * wanted:
            break
        size -= 0.6 * excess
    return best


def _tissue(here: Surroundings) -> NDArray[np.bool_]:
    """Where the lesion may lie: brain but not CSF, save where solid tumour has filled it."""
    solid = here.log_density > np.log(0.5)
    allowed: NDArray[np.bool_] = ((here.white + here.grey > 0.5) | solid) & (here.log_density > FAINTEST)
    return allowed


def _largest_of_size(score: Map, wanted: int) -> NDArray[np.bool_]:
    """The largest connected part of a level set of `score`, at the level where it has about `wanted` voxels."""
    ranked = np.sort(score[score > -np.inf])[::-1]
    chosen = np.zeros(score.shape, dtype=bool)
    if wanted < 1 or ranked.size == 0:
        return chosen
    size = float(wanted)
    for _ in range(4):
        level = ranked[min(int(size), ranked.size) - 1]
        parts, _ = ndimage.label(score >= level)
        counts = np.bincount(parts.reshape(-1))
        counts[0] = 0
        chosen = parts == int(np.argmax(counts))
        found = int(counts.max())
        if abs(found - wanted) <= 0.01 * wanted:
            break
        size = min(size * wanted / found, float(ranked.size))
    return chosen


def _without_holes(mask: NDArray[np.bool_], spacing_mm: float) -> NDArray[np.bool_]:
    """Cracks of a voxel closed where voxels are fine, enclosed holes filled."""
    if spacing_mm <= 2.0:
        mask = mask | ndimage.binary_closing(mask)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(mask)
    return filled
