"""Contrasts of the four structural sequences, in z-scores within the brain, and what imitates tumour.

The ranges of the tumour classes are those measured on real gliomas (mean over a lesion): oedema at or below grey
matter on T1, core clearly below oedema on T1c, core on FLAIR anything. A generator outside them trains a wrong prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import Label
from services.phantom.randomised_fields import Field, smooth_noise
from services.phantom.randomised_lesion import Kind

Range = tuple[float, float]

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
            Modality.T1C: (-0.9, 0.4),
            Modality.T2W: (0.7, 1.9),
            Modality.T2F: (1.2, 2.7),
        },
        Label.ET: {
            Modality.T1N: (-1.7, 0.3),
            Modality.T1C: (1.1, 3.9),
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What is imaged: tissue maps (brain, white, grey, ventricle), labels, the kind of tumour or None, voxel edge."""

    tissues: Field
    labels: NDArray[np.uint8]
    kind: Kind | None
    spacing_mm: float


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
        core[Modality.T1C] = min(core[Modality.T1C], oedema[Modality.T1C] - float(rng.uniform(0.1, 0.8)))
        core[Modality.T1N] = min(core[Modality.T1N], oedema[Modality.T1N] + 0.1)
    rim[Modality.T1C] = max(rim[Modality.T1C], oedema[Modality.T1C] + 0.9, core[Modality.T1C] + 0.9)
    return means


def render(rng: np.random.Generator, scene: Scene) -> dict[Modality, Field]:
    """Noise-free images of the four sequences in z-scores, without scanner effects."""
    shared = _Shared.draw(rng, scene)
    means = lesion_means(rng, scene.kind)
    images = {}
    for modality in STRUCTURAL:
        image = _healthy(rng, scene, modality, shared)
        _distract(image, shared, modality)
        for label in (Label.SNFH, Label.NCR, Label.ET):
            _paint(rng, image, shared, label, means[label][modality])
        images[modality] = image
    return images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shared:
    """Fields that several sequences use: they see the same spots."""

    coarse: Field
    fine: Field
    spots: dict[str, tuple[NDArray[np.bool_], dict[Modality, float]]]
    soft: dict[Label, tuple[tuple[slice, ...], Field]]

    @classmethod
    def draw(cls, rng: np.random.Generator, scene: Scene) -> _Shared:
        shape = scene.labels.shape
        return cls(
            coarse=smooth_noise(rng, shape, rng.uniform(10.0, 16.0) / scene.spacing_mm),
            fine=smooth_noise(rng, shape, rng.uniform(4.0, 8.0) / scene.spacing_mm),
            spots=_distractors(rng, scene),
            soft=_soft_masks(rng, scene),
        )


def _soft_masks(rng: np.random.Generator, scene: Scene) -> dict[Label, tuple[tuple[slice, ...], Field]]:
    """Per class its window and its mask with partial volume at the border (about half a voxel of 2 mm)."""
    soft: dict[Label, tuple[tuple[slice, ...], Field]] = {}
    for label in (Label.SNFH, Label.NCR, Label.ET):
        found = ndimage.find_objects((scene.labels == label).astype(np.uint8))
        if not found or found[0] is None:
            continue
        window = tuple(
            slice(max(s.start - 3, 0), min(s.stop + 3, n)) for s, n in zip(found[0], scene.labels.shape, strict=True)
        )
        border = rng.uniform(0.6, 2.5) if label is Label.SNFH else rng.uniform(0.6, 1.4)
        mask = (scene.labels[window] == label).astype(np.float32)
        soft[label] = (window, ndimage.gaussian_filter(mask, border / scene.spacing_mm, truncate=2.5))
    return soft


def _healthy(rng: np.random.Generator, scene: Scene, modality: Modality, shared: _Shared) -> Field:
    brain, white, grey, ventricle = scene.tissues
    w, g, f = (np.float32(rng.uniform(*r)) for r in TISSUE_RANGES[modality])
    fluid = np.clip(brain - white - grey, 0.0, 1.0)
    image: Field = w * white + g * grey + f * fluid
    image += np.float32(rng.uniform(0.0, 0.15)) * shared.coarse + np.float32(rng.uniform(0.0, 0.12)) * shared.fine
    if modality is Modality.T2F and rng.random() < 0.5:
        rim = ndimage.gaussian_filter(ventricle, 4.0 / scene.spacing_mm) * white
        image += np.float32(rng.uniform(1.0, 5.0)) * rim
    if modality is Modality.T2F and rng.random() < 0.3:
        image += np.float32(rng.uniform(0.3, 1.5)) * fluid * np.clip(shared.coarse - 0.5, 0.0, 1.5)
    return image


def _paint(rng: np.random.Generator, image: Field, shared: _Shared, label: Label, mean: float) -> None:
    """Blends a class into the image; some of the tissue below shines through oedema."""
    if label not in shared.soft:
        return
    window, mask = shared.soft[label]
    opacity = np.float32(rng.uniform(0.8, 1.0) if label is Label.SNFH else rng.uniform(0.9, 1.0))
    texture = np.float32(rng.normal(0.0, 0.22)) * shared.coarse[window]
    texture = texture + np.float32(rng.normal(0.0, 0.15)) * shared.fine[window]
    part = image[window]
    image[window] = part + opacity * mask * (np.float32(mean) + texture - part)


def _distract(image: Field, shared: _Shared, modality: Modality) -> None:
    for mask, change in shared.spots.values():
        if change.get(modality):
            image[mask] += np.float32(change[modality])


def _distractors(rng: np.random.Generator, scene: Scene) -> dict[str, tuple[NDArray[np.bool_], dict[Modality, float]]]:
    """White-matter lesions, enhancing dura, vessels, choroid plexus: bright like tumour, labelled background."""
    brain, white, _, ventricle = scene.tissues
    shape, edge = scene.labels.shape, scene.spacing_mm
    spots: dict[str, tuple[NDArray[np.bool_], dict[Modality, float]]] = {}
    if rng.random() < 0.4:
        noise = smooth_noise(rng, shape, rng.uniform(4.0, 8.0) / edge)
        change = {Modality.T2F: rng.uniform(0.8, 2.2), Modality.T2W: rng.uniform(0.4, 1.3)}
        change[Modality.T1N] = change[Modality.T1C] = -rng.uniform(0.0, 0.8)
        spots["white_matter_lesions"] = ((noise > rng.uniform(2.2, 3.2)) & (white > 0.7), change)
    if rng.random() < 0.4:
        shell = (brain > 0.3) & (ndimage.gaussian_filter(brain, 4.0 / edge) < 0.62)
        noise = smooth_noise(rng, shape, 25.0 / edge)
        spots["dura"] = (shell & (noise > rng.uniform(0.3, 1.5)), {Modality.T1C: rng.uniform(0.8, 3.0)})
    if rng.random() < 0.7:
        first, second = smooth_noise(rng, shape, 14.0 / edge), smooth_noise(rng, shape, 14.0 / edge)
        limit = rng.uniform(0.05, 0.12)
        lines = (np.abs(first) < limit) & (np.abs(second) < limit) & (brain > 0.5)
        dark = -rng.uniform(0.0, 1.0)
        spots["vessels"] = (lines, {Modality.T1C: rng.uniform(1.0, 3.5), Modality.T2W: dark, Modality.T2F: dark})
    if rng.random() < 0.6:
        noise = smooth_noise(rng, shape, 8.0 / edge)
        change = {Modality.T1C: rng.uniform(2.0, 4.5), Modality.T2F: rng.uniform(0.5, 2.5)}
        spots["choroid_plexus"] = ((ventricle > 0.5) & (noise > rng.uniform(0.8, 1.6)), change)
    return spots
