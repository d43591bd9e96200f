"""Contrasts of the four structural sequences, in z-scores within the brain.

The tumour classes are drawn so that their means over a lesion, seen after standardisation, cover what was measured on
eight real gliomas: oedema at or below grey matter on T1, core below oedema on T1c, core on FLAIR anything. The drawn
ranges are wider, because noise and partial volume pull the means together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import Label
from services.phantom.randomised_distractors import Ground, Spot, blood, draw_distractors
from services.phantom.randomised_fields import Field
from services.phantom.randomised_lesion import Kind
from services.phantom.randomised_outside import Outside
from services.phantom.randomised_shapes import blob, random_point

Range = tuple[float, float]
PAINTED = (Label.SNFH, Label.NCR, Label.ET, Label.RC)

# (low, high) of the mean z-score of white matter, grey matter, fluid
TISSUE_RANGES: Mapping[Modality, tuple[Range, Range, Range]] = MappingProxyType(
    {
        Modality.T1N: ((0.7, 1.2), (-0.5, 0.15), (-3.0, -1.6)),
        Modality.T1C: ((0.5, 1.2), (-0.5, 0.3), (-2.8, -1.4)),
        Modality.T2W: ((-0.9, -0.3), (-0.2, 0.5), (1.8, 3.8)),
        Modality.T2F: ((-0.5, 0.4), (0.1, 0.9), (-2.9, -1.5)),
    }
)
LESION_RANGES: Mapping[Label, Mapping[Modality, Range]] = MappingProxyType(
    {
        Label.SNFH: {
            Modality.T1N: (-0.8, 0.1),
            Modality.T1C: (-1.0, 0.3),
            Modality.T2W: (0.7, 1.9),
            Modality.T2F: (1.5, 3.0),
        },
        Label.ET: {
            Modality.T1N: (-1.7, 0.3),
            Modality.T1C: (1.4, 4.2),
            Modality.T2W: (0.1, 2.1),
            Modality.T2F: (0.8, 2.9),
        },
        Label.NCR: {
            Modality.T1N: (-2.1, 0.2),
            Modality.T1C: (-1.4, 0.5),
            Modality.T2W: (0.7, 2.9),
            Modality.T2F: (-0.9, 2.8),
        },
    }
)


CAVITY_RANGES: Mapping[Modality, Range] = MappingProxyType(
    {Modality.T1N: (-2.8, -1.2), Modality.T1C: (-2.7, -1.1), Modality.T2W: (1.6, 3.6), Modality.T2F: (-2.7, -0.9)}
)
PROTEIN_RANGES: Mapping[Modality, Range] = MappingProxyType({**CAVITY_RANGES, Modality.T2F: (0.2, 2.2)})
LEAST_SHARE = 0.55  # of a class in its own voxels: small or thin ones stay fainter, as they are
SCANNER_SPREAD = 0.25  # what noise and bias add to the spread, z
PROTEIN_SHARE, LINING_SHARE, CORE_BLOOD_SHARE = 0.3, 0.6, 0.15
TEXTURE: Mapping[Label, tuple[float, float, float]] = MappingProxyType(
    {  # spread of the amplitude of coarse, fine and grain in z
        Label.SNFH: (0.3, 0.22, 0.12),
        Label.NCR: (0.25, 0.2, 0.1),
        Label.ET: (0.3, 0.25, 0.12),
        Label.RC: (0.08, 0.05, 0.04),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What is imaged: tissue maps (see `TISSUES`), labels, kind of tumour or None, what lies outside, voxel edge."""

    tissues: Field
    labels: NDArray[np.uint8]
    kind: Kind | None
    spacing_mm: float
    outside: Outside | None = None


def lesion_means(rng: np.random.Generator, kind: Kind | None) -> dict[Label, dict[Modality, float]]:
    """One draw of every class's mean in every sequence."""
    means = {label: {m: float(rng.uniform(*r[m])) for m in STRUCTURAL} for label, r in LESION_RANGES.items()}
    oedema, core, rim = means[Label.SNFH], means[Label.NCR], means[Label.ET]
    alike = (kind is Kind.RING and rng.random() < 0.4) or (kind is not Kind.RING and rng.random() < 0.25)
    if alike:
        core.update({m: v + float(rng.normal(0.0, 0.12)) for m, v in oedema.items()})
    elif kind is Kind.NON_ENHANCING:
        core[Modality.T2F] = float(rng.uniform(0.6, 2.6))
        core[Modality.T1C] = core[Modality.T1N] + float(rng.normal(0.0, 0.2))
    else:
        core[Modality.T1C] = min(core[Modality.T1C], oedema[Modality.T1C] - float(rng.uniform(0.3, 1.1)))
        core[Modality.T1N] = min(core[Modality.T1N], oedema[Modality.T1N] + 0.1)
    rim[Modality.T1C] = max(rim[Modality.T1C], oedema[Modality.T1C] + 0.9, core[Modality.T1C] + 0.9)
    means[Label.RC] = {m: float(rng.uniform(*r)) for m, r in CAVITY_RANGES.items()}
    if rng.random() < PROTEIN_SHARE:
        means[Label.RC] = {m: float(rng.uniform(*r)) for m, r in PROTEIN_RANGES.items()}
    means[Label.RC][Modality.T1C] = means[Label.RC][Modality.T1N] + float(rng.normal(0.0, 0.15))
    return means


def render(rng: np.random.Generator, scene: Scene) -> dict[Modality, Field]:
    """Noise-free images of the four sequences in z-scores, without scanner effects."""
    shared = _Shared.draw(rng, scene)
    means = lesion_means(rng, scene.kind)
    images = {}
    for modality in STRUCTURAL:
        levels = [float(rng.uniform(*r)) for r in TISSUE_RANGES[modality]]
        image = _healthy(rng, scene, modality, levels, shared)
        for spot in shared.spots:
            spot.paint(image, modality, levels[2])
        values = _in_this_image(image, scene, {label: means[label][modality] for label in PAINTED})
        for label in PAINTED:
            _paint(rng, image, shared, label, values[label])
        for spot in shared.inside:
            spot.paint(image, modality, levels[2])
        images[modality] = image
    return images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shared:
    """Fields that several sequences use: they see the same spots."""

    noise: tuple[Field, Field, Field]
    spots: tuple[Spot, ...]
    inside: tuple[Spot, ...]
    soft: dict[Label, tuple[tuple[slice, ...], Field]]

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> _Shared:
        ground = Ground(tissues=scene.tissues, labels=scene.labels, spacing_mm=scene.spacing_mm)
        scales = (rng.uniform(10.0, 18.0), rng.uniform(4.0, 8.0), 1.5 * scene.spacing_mm)
        coarse, fine, grain = (ground.noise(rng, scale) for scale in scales)
        return cls(
            noise=(coarse, fine, grain),
            spots=draw_distractors(rng, ground),
            inside=tuple(_lesion_spots(rng, scene)),
            soft=_soft_masks(rng, scene),
        )


def _in_this_image(image: Field, scene: Scene, wanted: dict[Label, float]) -> dict[Label, float]:
    """What to paint so that each class has the wanted z-score once the image, lesions included, is standardised."""
    step = (slice(None, None, 2),) * 3
    brain, labels = scene.tissues[0][step] > 0.5, scene.labels[step]
    healthy = image[step][brain & (labels == 0)]
    if healthy.size == 0:
        return wanted
    mean, spread = float(healthy.mean()), float(np.hypot(healthy.std(), SCANNER_SPREAD))
    share = np.bincount(labels[brain], minlength=len(Label)) / int(brain.sum())
    middle, scale = mean, spread
    for _ in range(3):
        values = {label: middle + scale * z for label, z in wanted.items()}
        first = share[0] * mean + sum(share[label] * v for label, v in values.items())
        second = share[0] * (mean**2 + spread**2) + sum(share[label] * v**2 for label, v in values.items())
        # bounded: a tenth of the brain cannot lie at 3.9
        middle = float(np.clip(first, mean - 0.4 * spread, mean + 0.4 * spread))
        scale = float(np.clip(np.sqrt(max(second - first**2, 0.0)), 0.8 * spread, 1.4 * spread))
    return {label: middle + scale * z for label, z in wanted.items()}


def _lesion_spots(rng: np.random.Generator, scene: Scene) -> Iterator[Spot]:
    """Blood inside the core; a thin linear lining of the cavity, which is not tumour."""
    core = np.isin(scene.labels, (Label.NCR, Label.ET))
    if rng.random() < CORE_BLOOD_SHARE and (centre := random_point(rng, core, scene.spacing_mm)) is not None:
        volume = float(core.sum()) * scene.spacing_mm**3 / 1000.0 * float(rng.uniform(0.05, 0.4))
        lump = blob(rng, centre, volume, scene.tissues[0], scene.spacing_mm) & core
        yield Spot(name="blood", at=np.flatnonzero(lump), change=blood(rng))
    cavity = scene.labels == Label.RC
    if rng.random() < LINING_SHARE and cavity.any():
        lining = ndimage.binary_dilation(cavity) & ~cavity & ~core & (scene.tissues[0] > 0.5)
        change = {Modality.T1C: float(rng.uniform(0.4, 1.8)), Modality.T2F: float(rng.uniform(0.0, 0.8))}
        yield Spot(name="lining", at=np.flatnonzero(lining), change=change)


def _soft_masks(rng: np.random.Generator, scene: Scene) -> dict[Label, tuple[tuple[slice, ...], Field]]:
    """Per class its window and its mask with partial volume at the border (about half a voxel of 2 mm)."""
    soft: dict[Label, tuple[tuple[slice, ...], Field]] = {}
    found = ndimage.find_objects(scene.labels, max_label=max(Label))
    for label in PAINTED:
        place = found[label - 1]
        if place is None:
            continue
        window = tuple(
            slice(max(s.start - 3, 0), min(s.stop + 3, n)) for s, n in zip(place, scene.labels.shape, strict=True)
        )
        border = rng.uniform(0.6, 2.5) if label is Label.SNFH else rng.uniform(0.6, 1.4)
        mask = (scene.labels[window] == label).astype(np.float32)
        soft[label] = (window, ndimage.gaussian_filter(mask, border / scene.spacing_mm, truncate=2.5))
    return soft


def _healthy(rng: np.random.Generator, scene: Scene, modality: Modality, levels: list[float], shared: _Shared) -> Field:
    """Tissue without lesions: white, grey, fluid, deep nuclei between grey and white (darker on T2: iron), texture."""
    brain, white, grey, _, deep = scene.tissues
    w, g, f = (np.float32(level) for level in levels)
    image: Field = w * white + g * grey + f * np.clip(brain - white - grey, 0.0, 1.0)
    nuclei = g + (w - g) * np.float32(rng.uniform(-0.1, 0.9))
    if modality in (Modality.T2W, Modality.T2F):
        nuclei -= np.float32(rng.uniform(-0.3, 0.6))
    image += np.float32(rng.uniform(0.3, 0.9)) * deep * (nuclei - image)
    reach = 1.5 if modality in (Modality.T2W, Modality.T2F) else 1.0
    for noise, most in zip(shared.noise, (0.18, 0.15, 0.12), strict=True):
        own = np.roll(noise, int(rng.integers(10, 60)), axis=1) if rng.random() < 0.5 else noise
        image += np.float32(reach * rng.uniform(-most, most)) * own
    nothing = np.float32(f + (rng.uniform(-3.4, -2.0) - f) * rng.uniform(0.0, 1.0))
    image += (1.0 - brain) * nothing
    if scene.outside is not None:
        scene.outside.paint(rng, image, modality, float(f))
    return image


def _paint(rng: np.random.Generator, image: Field, shared: _Shared, label: Label, mean: float) -> None:
    """Blends a class into the image so that its mean is `mean`; some of the tissue below shines through oedema."""
    if label not in shared.soft:
        return
    window, mask = shared.soft[label]
    opacity = np.float32(rng.uniform(0.8, 1.0) if label is Label.SNFH else rng.uniform(0.9, 1.0))
    part = image[window]
    inside = mask > 0.5
    if not inside.any():
        inside = mask > 0.0
    below = float(part[inside].mean())
    share = max(float(opacity * mask[inside].mean()), LEAST_SHARE)
    wanted = np.full(mask.shape, below + (mean - below) / share, dtype=np.float32)
    for noise, spread in zip(shared.noise, TEXTURE[label], strict=True):
        wanted += np.float32(rng.normal(0.0, spread)) * noise[window]
    image[window] = part + opacity * mask * (wanted - part)
