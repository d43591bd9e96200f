"""Shapes of randomised tumours: foci by level sets of distance and noise, rims by thickness, oedema along white matter.

Core and oedema differ in shape on purpose (round against finger-like): their intensities often do not tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.phantom.randomised_atlas import TissueAtlas
from services.phantom.randomised_fields import Field, Point, smooth_noise
from services.phantom.randomised_shapes import (
    ball_radius_mm,
    ellipsoid,
    offsets,
    random_point,
    smallest,
    window_around,
)

SATELLITE_SHARE = 0.25
BARE_CORE_SHARE = 0.15  # hardly any oedema, or none


class Kind(StrEnum):
    """How the tumour takes up contrast."""

    RING = "ring"
    SOLID = "solid"
    NON_ENHANCING = "non_enhancing"
    PATCHY = "patchy"


KINDS: Mapping[Kind, float] = MappingProxyType(
    {Kind.RING: 0.6, Kind.SOLID: 0.16, Kind.NON_ENHANCING: 0.14, Kind.PATCHY: 0.1}
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionPlan:
    """What is drawn before the anatomy: where (mm from the box's centre), how large (ml), of which kind."""

    kind: Kind
    centre: Point
    whole_ml: float
    core_ml: float

    @property
    def core_radius_mm(self) -> float:
        """Radius of a ball of the core's volume."""
        return ball_radius_mm(self.core_ml)


def plan_lesion(
    rng: np.random.Generator, atlas: TissueAtlas, whole_ml: tuple[float, float] = (3.0, 180.0)
) -> LesionPlan:
    """Draws a tumour of log-uniform volume; its centre lies in white matter, in grey matter or beside a ventricle."""
    kind = tuple(KINDS)[int(rng.choice(len(KINDS), p=tuple(KINDS.values())))]
    whole = float(np.exp(rng.uniform(*np.log(whole_ml))))
    share = rng.uniform(0.35, 0.95) if kind is Kind.NON_ENHANCING else rng.uniform(0.12, 0.65)
    if rng.random() < BARE_CORE_SHARE:
        share = rng.uniform(0.85, 1.0)
    share = max(share, min(0.3 / whole, 1.0))
    core = min(float(whole * share), 90.0)
    place, stray = rng.random(), 5.0
    where = atlas.maps[1] > 0.35
    if place > 0.7:
        where = atlas.maps[2] > 0.6
    if place > 0.85:
        where, stray = atlas.maps[3] > 0.5, max(0.7 * ball_radius_mm(core), 5.0)
    centre = random_point(rng, where, atlas.spacing_mm)
    centre = np.zeros(3) if centre is None else centre
    return LesionPlan(kind=kind, centre=centre + rng.normal(0.0, stray, 3), whole_ml=whole, core_ml=core)


def grow_lesion(rng: np.random.Generator, plan: LesionPlan, tissues: Field, spacing_mm: float) -> NDArray[np.uint8]:
    """Label map of the tumour on the whole grid; empty when the plan fell outside the brain."""
    labels = np.zeros(tissues.shape[1:], dtype=np.uint8)
    reach = 2.2 * ball_radius_mm(plan.whole_ml) + 24.0
    window = window_around(plan.centre, reach, labels.shape, spacing_mm)
    brain, white, grey, ventricle = tissues[(slice(4), *window)]
    if brain.size == 0 or float((brain > 0.5).sum()) * spacing_mm**3 < 1000.0:
        return labels
    away = offsets(plan.centre, window, spacing_mm)
    core = _core(rng, plan, away, (brain, ventricle), spacing_mm)
    crop = np.where(core, np.uint8(Label.NCR), np.uint8(0))
    crop[_enhancing(rng, plan, core, spacing_mm)] = Label.ET
    oedema = _oedema(rng, plan, core, (brain, white, grey), spacing_mm)
    crop[oedema & ~core] = Label.SNFH
    labels[window] = crop
    return labels


def _core(
    rng: np.random.Generator, plan: LesionPlan, away: list[Field], tissue: tuple[Field, Field], spacing_mm: float
) -> NDArray[np.bool_]:
    """One focus, in a quarter of the tumours with one to three satellites."""
    brain, ventricle = tissue
    radius = plan.core_radius_mm
    score = ellipsoid(rng, away, np.zeros(3)) / np.float32(radius)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < SATELLITE_SHARE else 0):
        direction = rng.standard_normal(3)
        offset = direction / np.linalg.norm(direction) * rng.uniform(1.1, 2.8) * radius
        other = ellipsoid(rng, away, offset) / np.float32(radius * rng.uniform(0.2, 0.75))
        score = np.minimum(score, other)
    score = score + np.float32(rng.uniform(0.08, 0.3)) * smooth_noise(rng, brain.shape, 0.8 * radius / spacing_mm)
    score = score + np.float32(rng.uniform(0.03, 0.15)) * smooth_noise(rng, brain.shape, 0.3 * radius / spacing_mm)
    return smallest(score + ventricle, brain > 0.5, plan.core_ml, spacing_mm)


def _enhancing(
    rng: np.random.Generator, plan: LesionPlan, core: NDArray[np.bool_], spacing_mm: float
) -> NDArray[np.bool_]:
    """Which voxels of the core enhance: a rim 1.5 to 8 mm thick, all but a few spots, or patches."""
    noise = smooth_noise(rng, core.shape, rng.uniform(6.0, 16.0) / spacing_mm)
    if plan.kind is Kind.NON_ENHANCING:
        return np.zeros_like(core)
    if plan.kind is Kind.SOLID:
        return core & (noise < rng.uniform(1.1, 3.0))
    if plan.kind is Kind.PATCHY:
        return core & (noise > rng.uniform(-0.2, 1.2))
    thickness = np.exp(rng.uniform(np.log(1.5), np.log(8.0)) + 0.3 * noise)
    if rng.random() < 0.3:
        thickness = np.where(noise < rng.uniform(-2.0, -0.8), -spacing_mm, thickness)
    depth = ndimage.distance_transform_edt(core, sampling=spacing_mm)
    # the outermost voxels' middle lies half a voxel deep
    rim: NDArray[np.bool_] = core & (depth - spacing_mm / 2 <= thickness)
    return rim


def _oedema(
    rng: np.random.Generator,
    plan: LesionPlan,
    core: NDArray[np.bool_],
    tissue: tuple[Field, Field, Field],
    spacing_mm: float,
) -> NDArray[np.bool_]:
    """Finger-like spread from the core: far along white matter, hardly into cortex, never into fluid."""
    brain, white, grey = tissue
    distance = ndimage.distance_transform_edt(~core, sampling=spacing_mm).astype(np.float32)
    reluctance = 2.2 - rng.uniform(1.0, 1.6) * white + rng.uniform(0.0, 0.8) * grey
    score = distance * reluctance
    score = score + np.float32(rng.uniform(2.0, 7.0)) * smooth_noise(rng, core.shape, 16.0 / spacing_mm)
    score = score + np.float32(rng.uniform(0.5, 2.5)) * smooth_noise(rng, core.shape, 6.0 / spacing_mm)
    allowed = ~core & (brain > 0.5) & (white + grey > 0.55)
    return smallest(score, allowed, plan.whole_ml - plan.core_ml, spacing_mm)
