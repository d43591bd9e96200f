"""Shapes of randomised tumours: foci by level sets of distance and noise, rims by thickness, oedema along white matter.

Core and oedema differ in shape on purpose (round against finger-like): their intensities often do not tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.phantom.randomised_fields import Field, Point, positions, smooth_noise


class Kind(StrEnum):
    """How the tumour takes up contrast."""

    RING = "ring"
    SOLID = "solid"
    NON_ENHANCING = "non_enhancing"
    PATCHY = "patchy"


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
        return float((3000.0 * self.core_ml / (4 * np.pi)) ** (1 / 3))


def plan_lesion(rng: np.random.Generator, white: Field, spacing_mm: float) -> LesionPlan:
    """Draws a tumour; its centre lies in or near white matter. `white` is the unwarped map at `spacing_mm`."""
    kinds = (Kind.RING, Kind.SOLID, Kind.NON_ENHANCING, Kind.PATCHY)
    kind = kinds[int(rng.choice(4, p=(0.6, 0.16, 0.14, 0.1)))]
    whole = float(np.exp(rng.uniform(np.log(3.0), np.log(180.0))))
    share = rng.uniform(0.35, 0.95) if kind is Kind.NON_ENHANCING else rng.uniform(0.12, 0.65)
    if rng.random() < 0.1:
        share = rng.uniform(0.8, 0.97)
    core = min(float(whole * share), 90.0)
    candidates = np.flatnonzero(white > 0.35)
    flat = int(candidates[rng.integers(candidates.size)])
    index = np.array(np.unravel_index(flat, white.shape), dtype=float)
    centre = (index - (np.array(white.shape) - 1) / 2) * spacing_mm + rng.normal(0.0, 5.0, 3)
    return LesionPlan(kind=kind, centre=centre, whole_ml=whole, core_ml=core)


def grow_lesion(rng: np.random.Generator, plan: LesionPlan, tissues: Field, spacing_mm: float) -> NDArray[np.uint8]:
    """Label map of the tumour on the whole grid; empty when the plan fell outside the brain."""
    labels = np.zeros(tissues.shape[1:], dtype=np.uint8)
    reach = 2.2 * (3000.0 * plan.whole_ml / (4 * np.pi)) ** (1 / 3) + 24.0
    window = _window(plan.centre, reach, labels.shape, spacing_mm)
    brain, white, grey, ventricle = tissues[(slice(None), *window)]
    if brain.size == 0 or float((brain > 0.5).sum()) * spacing_mm**3 < 1000.0:
        return labels
    away = [p[_axis_window(a, window)] - np.float32(plan.centre[a]) for a, p in enumerate(positions(spacing_mm))]
    core = _core(rng, plan, away, (brain, ventricle), spacing_mm)
    crop = np.where(core, np.uint8(Label.NCR), np.uint8(0))
    crop[_enhancing(rng, plan, core, spacing_mm)] = Label.ET
    oedema = _oedema(rng, plan, core, (brain, white, grey), spacing_mm)
    crop[oedema & ~core] = Label.SNFH
    labels[window] = crop
    return labels


def _window(centre: Point, reach_mm: float, shape: tuple[int, ...], spacing_mm: float) -> tuple[slice, ...]:
    middle = np.asarray(centre) / spacing_mm + (np.array(shape) - 1) / 2
    low = np.clip(np.floor(middle - reach_mm / spacing_mm), 0, None).astype(int)
    high = np.clip(np.ceil(middle + reach_mm / spacing_mm) + 1, 0, shape).astype(int)
    return tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))


def _axis_window(axis: int, window: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(window[a] if a == axis else slice(None) for a in range(3))


def _smallest(score: Field, allowed: NDArray[np.bool_], volume_ml: float, spacing_mm: float) -> NDArray[np.bool_]:
    """The allowed voxels of lowest score that together have `volume_ml`."""
    wanted = int(volume_ml * 1000.0 / spacing_mm**3)
    values = score[allowed]
    if wanted < 1 or values.size == 0:
        return np.zeros(score.shape, dtype=bool)
    limit = np.partition(values, min(wanted, values.size) - 1)[min(wanted, values.size) - 1]
    chosen: NDArray[np.bool_] = allowed & (score <= limit)
    return chosen


def _core(
    rng: np.random.Generator, plan: LesionPlan, away: list[Field], tissue: tuple[Field, Field], spacing_mm: float
) -> NDArray[np.bool_]:
    brain, ventricle = tissue
    radius = plan.core_radius_mm
    score = _ellipsoid(rng, away, np.zeros(3)) / np.float32(radius)
    if rng.random() < 0.15:
        direction = rng.standard_normal(3)
        offset = direction / np.linalg.norm(direction) * rng.uniform(1.2, 2.6) * radius
        second = _ellipsoid(rng, away, offset) / np.float32(radius * rng.uniform(0.35, 0.8))
        score = np.minimum(score, second)
    score = score + np.float32(rng.uniform(0.08, 0.3)) * smooth_noise(rng, brain.shape, 0.8 * radius / spacing_mm)
    score = score + np.float32(rng.uniform(0.03, 0.15)) * smooth_noise(rng, brain.shape, 0.3 * radius / spacing_mm)
    return _smallest(score + ventricle, brain > 0.5, plan.core_ml, spacing_mm)


def _ellipsoid(rng: np.random.Generator, away: list[Field], offset: Point) -> Field:
    """Distance to the centre in a stretched, turned frame, mm."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = np.exp(rng.normal(0.0, 0.22, 3))
    frame = (turn / (stretch / stretch.prod() ** (1 / 3))[:, None]).astype(np.float32)
    moved = [p - np.float32(o) for p, o in zip(away, offset, strict=True)]
    rows = [f[0] * moved[0] + f[1] * moved[1] + f[2] * moved[2] for f in frame]
    distance: Field = np.sqrt(rows[0] ** 2 + rows[1] ** 2 + rows[2] ** 2)
    return distance


def _enhancing(
    rng: np.random.Generator, plan: LesionPlan, core: NDArray[np.bool_], spacing_mm: float
) -> NDArray[np.bool_]:
    """Which voxels of the core enhance: a rim 2 to 8 mm thick, all but a few spots, or patches."""
    noise = smooth_noise(rng, core.shape, rng.uniform(6.0, 16.0) / spacing_mm)
    if plan.kind is Kind.NON_ENHANCING:
        return np.zeros_like(core)
    if plan.kind is Kind.SOLID:
        return core & (noise < rng.uniform(1.1, 3.0))
    if plan.kind is Kind.PATCHY:
        return core & (noise > rng.uniform(-0.2, 1.2))
    thickness = rng.uniform(2.0, 8.0) * np.exp(0.3 * noise)
    if rng.random() < 0.3:
        thickness = np.where(noise < rng.uniform(-2.0, -0.8), 0.0, thickness)
    depth = ndimage.distance_transform_edt(core, sampling=spacing_mm)
    rim: NDArray[np.bool_] = core & (depth <= np.maximum(thickness, 0.0))
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
    return _smallest(score, allowed, plan.whole_ml - plan.core_ml, spacing_mm)
