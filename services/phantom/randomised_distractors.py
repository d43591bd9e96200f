"""What looks like tumour and is none: every entry is painted, never labelled. One table says how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import Modality
from services.phantom.randomised_fields import Field, offsets_from, smooth_noise
from services.phantom.randomised_shapes import Mask, blob, random_point

T1N, T1C, T2W, T2F = Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F

# share of cases; the masks' faults (skull, eyes) have their own table in `randomised_outside`
DISTRACTORS: Mapping[str, float] = MappingProxyType(
    {
        "white_matter_lesions": 0.45,
        "periventricular_band": 0.5,
        "vessels": 0.7,
        "dura": 0.4,
        "choroid_plexus": 0.6,
        "venous_sinus": 0.4,
        "pituitary": 0.35,
        "haemorrhage": 0.1,
        "infarct": 0.12,
        "cyst": 0.06,
        "sulcal_flair": 0.3,
        "ventricular_flow": 0.25,
    }
)
LIKE_FLUID = frozenset({"infarct", "cyst"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """Where distractors are put: tissue maps (brain, white, grey, ventricle, ...), labels, voxel edge."""

    tissues: Field
    labels: NDArray[np.uint8]
    spacing_mm: float

    def noise(self, rng: np.random.Generator, scale_mm: float) -> Field:
        """Smooth noise of this scale on the whole grid."""
        return smooth_noise(rng, self.labels.shape, scale_mm / self.spacing_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spot:
    """Flat voxel indices, what is added per sequence (z), how much of the tissue below is fluid instead (0 to 1)."""

    name: str
    at: NDArray[np.intp]
    change: Mapping[Modality, float]
    fluid: float = 0.0

    def paint(self, image: Field, modality: Modality, fluid: float) -> None:
        """Changes the image in place; `fluid` is this sequence's z-score of CSF."""
        step = self.change.get(modality, 0.0)
        if step == 0.0 and self.fluid == 0.0:
            return
        flat = image.reshape(-1)
        below = flat[self.at]
        flat[self.at] = below + np.float32(self.fluid) * (np.float32(fluid) - below) + np.float32(step)


Drawn = tuple[Mask, dict[Modality, float]]


def draw_distractors(
    rng: np.random.Generator, ground: Ground, shares: Mapping[str, float] = DISTRACTORS
) -> tuple[Spot, ...]:
    """A draw of the table, outside of whatever is labelled."""
    spots = []
    free = ground.labels == 0
    for name, share in shares.items():
        if rng.random() >= share:
            continue
        mask, change = _BUILDERS[name](rng, ground)
        at = np.flatnonzero(mask & free)
        if at.size:
            fluid = float(rng.uniform(0.75, 1.0)) if name in LIKE_FLUID else 0.0
            spots.append(Spot(name=name, at=at, change=change, fluid=fluid))
    return tuple(spots)


def blood(rng: np.random.Generator) -> dict[Modality, float]:
    """Change by blood: bright on T1 with and without contrast (or nearly so), dark or bright on T2 and FLAIR."""
    t1 = float(rng.uniform(0.8, 3.5) if rng.random() < 0.75 else rng.uniform(-0.6, 0.4))
    t2 = float(rng.uniform(-2.2, -0.6) if rng.random() < 0.6 else rng.uniform(0.6, 2.2))
    return {T1N: t1, T1C: t1 + float(rng.normal(0.0, 0.15)), T2W: t2, T2F: t2 + float(rng.uniform(-0.3, 0.8))}


def _white_matter_lesions(rng: np.random.Generator, ground: Ground) -> Drawn:
    noise = ground.noise(rng, rng.uniform(4.0, 9.0))
    change = {T2F: rng.uniform(0.8, 2.6), T2W: rng.uniform(0.4, 1.6)}
    change[T1N] = change[T1C] = -rng.uniform(0.0, 0.9)
    return (noise > rng.uniform(2.0, 3.2)) & (ground.tissues[1] > 0.7), change


def _periventricular_band(rng: np.random.Generator, ground: Ground) -> Drawn:
    """A thin lining of the ventricles or thick caps, by age; uneven, open in places."""
    white, ventricle = ground.tissues[1], ground.tissues[3]
    near = ndimage.gaussian_filter(ventricle, rng.uniform(1.5, 3.0) / ground.spacing_mm, truncate=2.5)
    uneven = near + np.float32(rng.uniform(0.05, 0.15)) * ground.noise(rng, rng.uniform(8.0, 20.0))
    old = rng.random() < 0.4
    change = {T2F: rng.uniform(1.0, 2.4) if old else rng.uniform(0.3, 1.2), T2W: rng.uniform(0.1, 0.9)}
    change[T1N] = change[T1C] = -rng.uniform(0.0, 0.5)
    return (uneven > (rng.uniform(0.12, 0.3) if old else rng.uniform(0.3, 0.45))) & (white > 0.5), change


def _vessels(rng: np.random.Generator, ground: Ground) -> Drawn:
    scale = rng.uniform(12.0, 18.0)
    limit = rng.uniform(0.05, 0.12)
    lines = (np.abs(ground.noise(rng, scale)) < limit) & (np.abs(ground.noise(rng, scale)) < limit)
    dark = -rng.uniform(0.0, 1.0)
    return lines & (ground.tissues[0] > 0.5), {T1C: rng.uniform(1.0, 3.5), T2W: dark, T2F: dark}


def _dura(rng: np.random.Generator, ground: Ground) -> Drawn:
    brain = ground.tissues[0]
    shell = (brain > 0.3) & (ndimage.gaussian_filter(brain, 4.0 / ground.spacing_mm, truncate=2.5) < 0.62)
    return shell & (ground.noise(rng, 25.0) > rng.uniform(0.0, 1.5)), {T1C: rng.uniform(0.8, 3.0)}


def _choroid_plexus(rng: np.random.Generator, ground: Ground) -> Drawn:
    change = {T1C: rng.uniform(2.0, 4.5), T2F: rng.uniform(0.5, 2.5)}
    return (ground.tissues[3] > 0.5) & (ground.noise(rng, 8.0) > rng.uniform(0.8, 1.6)), change


def _venous_sinus(rng: np.random.Generator, ground: Ground) -> Drawn:
    """The sagittal sinus along the upper midline, and often the transverse ones behind and below."""
    brain = ground.tissues[0]
    x, y, z = offsets_from(rng.normal(0.0, 1.5, 3), ground.spacing_mm)
    tilt = np.float32(rng.normal(0.0, 0.05))
    width = rng.uniform(2.0, 4.0)
    middle = (np.abs(x + tilt * z) < width) & (z > -15.0) & (y**2 + z**2 > 45.0**2)
    if rng.random() < 0.6:
        middle = middle | ((np.abs(z + 25.0) < width + 1.0) & (y < -45.0))
    edge = (brain > 0.2) & (ndimage.gaussian_filter(brain, 3.0 / ground.spacing_mm, truncate=2.5) < 0.7)
    dark = -rng.uniform(0.0, 1.5)
    return middle & edge, {T1C: rng.uniform(1.5, 4.5), T2W: dark, T2F: dark}


def _pituitary(rng: np.random.Generator, ground: Ground) -> Drawn:
    """Pituitary gland, stalk and the arteries around: small and bright right below the middle of the brain."""
    brain, edge = ground.tissues[0], ground.spacing_mm
    middle = (np.array(brain.shape) - 1) / 2
    y_mm = rng.normal(22.0, 5.0)
    column = brain[round(middle[0]) - 1 : round(middle[0]) + 2, round(middle[1] + y_mm / edge)].mean(axis=0)
    floor = (float(np.argmax(column > 0.4)) - middle[2]) * edge
    x, y, z = offsets_from(np.array([rng.normal(0.0, 2.5), y_mm, floor + rng.normal(0.0, 3.0)]), edge)
    rx, ry, rz = rng.uniform((4.0, 3.0, 3.0), (12.0, 7.0, 7.0))
    inside = (x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2 < 1.0
    return inside & (brain > 0.1), {T1C: rng.uniform(1.5, 4.0), T1N: rng.uniform(-0.2, 0.8)}


def _lump(rng: np.random.Generator, ground: Ground, where: Mask, largest_ml: float) -> Mask:
    centre = random_point(rng, where, ground.spacing_mm)
    if centre is None:
        return np.zeros(where.shape, dtype=bool)
    volume = float(np.exp(rng.uniform(np.log(0.3), np.log(largest_ml))))
    return blob(rng, centre, volume, ground.tissues[0], ground.spacing_mm)


def _haemorrhage(rng: np.random.Generator, ground: Ground) -> Drawn:
    return _lump(rng, ground, ground.tissues[0] > 0.6, 15.0), blood(rng)


def _infarct(rng: np.random.Generator, ground: Ground) -> Drawn:
    """An old one: fluid where cortex and the white matter below were."""
    return _lump(rng, ground, ground.tissues[2] > 0.6, 25.0), {T2F: float(rng.uniform(0.0, 0.6))}


def _cyst(rng: np.random.Generator, ground: Ground) -> Drawn:
    brain = ground.tissues[0]
    return _lump(rng, ground, (brain > 0.5) & (ground.tissues[1] < 0.3), 20.0), {T2F: float(rng.uniform(-0.2, 0.3))}


def _sulcal_flair(rng: np.random.Generator, ground: Ground) -> Drawn:
    brain, white, grey, ventricle = ground.tissues[:4]
    fluid = (brain - white - grey > 0.35) & (ventricle < 0.3)
    return fluid & (ground.noise(rng, 22.0) > rng.uniform(-0.5, 1.2)), {T2F: float(rng.uniform(0.8, 3.5))}


def _ventricular_flow(rng: np.random.Generator, ground: Ground) -> Drawn:
    flow = (ground.tissues[3] > 0.5) & (ground.noise(rng, 12.0) > rng.uniform(-0.3, 1.2))
    return flow, {T2F: float(rng.uniform(0.8, 3.5)), T2W: -float(rng.uniform(0.0, 1.2))}


_BUILDERS: Mapping[str, Callable[[np.random.Generator, Ground], Drawn]] = MappingProxyType(
    {
        "white_matter_lesions": _white_matter_lesions,
        "periventricular_band": _periventricular_band,
        "vessels": _vessels,
        "dura": _dura,
        "choroid_plexus": _choroid_plexus,
        "venous_sinus": _venous_sinus,
        "pituitary": _pituitary,
        "haemorrhage": _haemorrhage,
        "infarct": _infarct,
        "cyst": _cyst,
        "sulcal_flair": _sulcal_flair,
        "ventricular_flow": _ventricular_flow,
    }
)
