"""What lies outside the brain and what a brain extraction leaves of it: skull, scalp, dura, eyes; masks that err.

A network that never saw a skull remnant calls it tumour: it is bright, lies at the border and takes up contrast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import ndimage, special

from services.core.contracts.enums import Modality
from services.phantom.randomised_fields import Field, offsets_from, smooth_noise
from services.phantom.randomised_shapes import Mask

# share of cases: patches of skull and scalp, a mask that is too large all around, eyes; imperfect masks of the brain
MASK_FAULTS: Mapping[str, float] = MappingProxyType(
    {"remnant": 0.1, "oversized": 0.05, "eyes": 0.05, "smoothed": 0.3, "cut": 0.1}
)
SOFTNESS_MM, FARTHEST_MM = 6.0, 18.0
# (low, high) z-score, drawn per sequence
FAT = {Modality.T1N: (1.2, 4.0), Modality.T1C: (1.2, 4.5), Modality.T2W: (0.0, 3.0), Modality.T2F: (0.0, 3.0)}
DURA = {Modality.T1N: (-1.0, 0.2), Modality.T1C: (0.8, 3.5), Modality.T2W: (-1.5, 0.0), Modality.T2F: (-1.0, 1.0)}
EYE = {Modality.T1N: (-2.6, -1.4), Modality.T1C: (-2.4, -1.2), Modality.T2W: (1.8, 4.0), Modality.T2F: (-2.0, 1.0)}
BONE = (-3.6, -2.4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outside:
    """Tissue beyond the brain. `layer` per voxel: 0 nothing, 1 fluid, 2 dura, 3 bone, 4 fat or scalp, 5 eye;
    `kept` is what the extraction wrongly left in the mask.
    """

    layer: Field
    kept: Mask

    def paint(self, rng: np.random.Generator, image: Field, modality: Modality, fluid: float) -> None:
        """Fills every layer, in place."""
        bone = float(rng.uniform(*BONE))
        values = [0.0, fluid, *(float(rng.uniform(*r[modality])) for r in (DURA, FAT, EYE))]
        values.insert(3, bone)
        there = self.layer > 0
        texture = 1.0 + 0.2 * rng.standard_normal(int(there.sum()), dtype=np.float32)
        image[there] = np.array(values, dtype=np.float32)[self.layer[there].astype(np.uint8)] * texture


def draw_outside(rng: np.random.Generator, brain: Field, spacing_mm: float) -> Outside | None:
    """Skull, scalp and eyes around this brain map, in the share of cases that keeps some of them; else None."""
    remnant, oversized, eyes = (rng.random() < MASK_FAULTS[name] for name in ("remnant", "oversized", "eyes"))
    if not (remnant or oversized or eyes):
        return None
    smooth = ndimage.gaussian_filter(brain, SOFTNESS_MM / spacing_mm, truncate=3.0)
    depth = np.float32(-SOFTNESS_MM) * special.ndtri(np.clip(smooth, 1e-4, 0.5)).astype(np.float32)
    outer = (brain < 0.5) & (depth < FARTHEST_MM)
    uneven = depth + np.float32(rng.uniform(0.3, 1.2)) * smooth_noise(rng, brain.shape, 14.0 / spacing_mm)
    borders = np.cumsum([rng.uniform(0.5, 3.0), rng.uniform(1.0, 2.5), rng.uniform(3.0, 7.0)])
    layer = np.where(outer, np.digitize(uneven, borders) + 1, 0).astype(np.float32)
    kept = np.zeros(brain.shape, dtype=bool)
    if oversized:
        reach = rng.uniform(1.5, 6.0) + 1.5 * smooth_noise(rng, brain.shape, 40.0 / spacing_mm)
        kept |= outer & (depth < reach)
    if remnant:
        noise = smooth_noise(rng, brain.shape, rng.uniform(22.0, 50.0) / spacing_mm)
        kept |= outer & (noise > rng.uniform(0.6, 1.8)) & (depth < rng.uniform(4.0, FARTHEST_MM))
    if eyes:
        ball, around = _eyes(rng, brain, spacing_mm)
        layer[around & (brain < 0.5)], layer[ball & (brain < 0.5)] = 4.0, 5.0
        kept |= (around | ball) & (brain < 0.5)
    return Outside(layer=layer, kept=kept)


def _eyes(rng: np.random.Generator, brain: Field, spacing_mm: float) -> tuple[Mask, Mask]:
    """One or two eyeballs and some fat of the orbit, before and below the frontal lobes."""
    inside = np.argwhere(brain[::2, ::2, ::2] > 0.5) * 2
    ball, around = np.zeros(brain.shape, dtype=bool), np.zeros(brain.shape, dtype=bool)
    if inside.size == 0:
        return ball, around
    low, high = (f(inside, axis=0) * spacing_mm for f in (np.min, np.max))
    box = (np.array(brain.shape) - 1) / 2 * spacing_mm
    fat = rng.uniform(2.0, 7.0)
    for side in (-1.0, 1.0) if rng.random() < 0.7 else (float(rng.choice((-1.0, 1.0))),):
        x = (low[0] + high[0]) / 2 + side * rng.uniform(26.0, 34.0)
        centre = np.array([x, high[1] - rng.uniform(2.0, 16.0), low[2] + rng.uniform(18.0, 36.0)]) - box
        x, y, z = offsets_from(centre, spacing_mm)
        distance = np.sqrt(x**2 + y**2 + z**2)
        ball |= distance < rng.uniform(9.0, 12.5)
        around |= distance < 12.0 + fat
    return ball, around


def brain_mask(rng: np.random.Generator, brain: Field, outside: Outside | None, spacing_mm: float) -> Mask:
    """The mask an extraction would give: right in half of the cases, else eroded, bulging, too large or cut."""
    mask: Mask = brain > 0.5
    if rng.random() < MASK_FAULTS["smoothed"]:
        level = 0.5 + 0.3 * np.clip(smooth_noise(rng, brain.shape, 30.0 / spacing_mm), -1.3, 1.3)
        mask = ndimage.gaussian_filter(brain, rng.uniform(1.5, 4.0) / spacing_mm) > np.clip(level, 0.25, 0.9)
    if outside is not None:
        mask = mask | outside.kept
    if rng.random() < MASK_FAULTS["cut"]:
        rows = int(rng.uniform(4.0, 30.0) / spacing_mm)
        inside = np.flatnonzero(mask.any(axis=(0, 1)))
        if inside.size > 4 * rows:
            mask = mask.copy()
            gone = slice(int(inside[-1]) - rows, None) if rng.random() < 0.5 else slice(0, int(inside[0]) + rows)
            mask[:, :, gone] = False
    return mask
