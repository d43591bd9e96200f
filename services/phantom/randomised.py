"""Domain-randomised training cases, made on the fly and never stored: a fixed pool is memorised within minutes.

Everything follows from the seed. Grid: the canonical box, RAS, at the atlas' spacing (2 mm for the coarse model).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import STRUCTURAL
from services.core.imaging.standardise import z_score_in_brain
from services.phantom.randomised_atlas import TissueAtlas
from services.phantom.randomised_cavity import CAVITY_SHARE, operate
from services.phantom.randomised_fields import Bump, warped_tissues
from services.phantom.randomised_intensity import Scene, render
from services.phantom.randomised_lesion import Kind, LesionPlan, grow_lesion, plan_lesion
from services.phantom.randomised_outside import brain_mask, draw_outside
from services.phantom.randomised_scanner import Acquisition, acquire
from services.phantom.randomised_shapes import ball_radius_mm

HEALTHY_SHARE = 0.1
DROPOUT_SHARE = 0.5
# what is left where sequences are missing: indices into STRUCTURAL, with the share of such cases
LEFT = ((1, 3), (1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2), (0, 1), (2, 3), (1,), (3,))
LEFT_SHARE = (0.3, 0.14, 0.12, 0.12, 0.08, 0.06, 0.06, 0.06, 0.06)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingCase:
    """One case. Axes of `image`: (slot of STRUCTURAL, x, y, z), z-score in brain, zero outside and where missing.

    `quality`: per slot log SNR, motion 0 to 1, slice thickness mm; zero where missing. `labels`: glioserve.labels.v1.
    """

    image: NDArray[np.float32]
    available: NDArray[np.float32]
    quality: NDArray[np.float32]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    kind: Kind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOptions:
    """Which cases are drawn. `all_sequences` switches sequence dropout off, `healthy_share` is a probability.

    WT is drawn log-uniformly between the two volumes (ml, 0.5 and up): the trainer's curriculum by lesion size.
    """

    all_sequences: bool = False
    healthy_share: float = HEALTHY_SHARE
    smallest_ml: float = 3.0
    largest_ml: float = 180.0


def randomised_case(seed: int, atlas: TissueAtlas, options: CaseOptions | None = None) -> TrainingCase:
    """The case of this seed; the same seed gives the same voxels on the same numpy."""
    options = options or CaseOptions()
    rng = np.random.default_rng(seed)
    spacing = atlas.spacing_mm
    plan = None
    if rng.random() >= options.healthy_share:
        plan = plan_lesion(rng, atlas, (options.smallest_ml, options.largest_ml))
    tissues = warped_tissues(rng, atlas, _bumps(rng, plan))
    labels = np.zeros(tissues.shape[1:], dtype=np.uint8)
    if plan is not None:
        labels = grow_lesion(rng, plan, tissues, spacing)
        if rng.random() < CAVITY_SHARE:
            operate(rng, labels, (plan.centre, plan.core_ml), tissues, spacing)
    outside = draw_outside(rng, tissues[0], spacing)
    kind = None if plan is None else plan.kind
    scene = Scene(tissues=tissues, labels=labels, kind=kind, spacing_mm=spacing, outside=outside)
    brain = brain_mask(rng, tissues[0], outside, spacing)
    image, quality = _scanned(rng, scene, brain)
    labels[~brain] = 0
    available = np.ones(len(STRUCTURAL), dtype=np.float32)
    if not options.all_sequences and rng.random() < DROPOUT_SHARE:
        available[:] = 0.0
        available[list(LEFT[int(rng.choice(len(LEFT), p=LEFT_SHARE))])] = 1.0
    image[available == 0] = 0.0
    quality[available == 0] = 0.0
    return TrainingCase(image=image, available=available, quality=quality, labels=labels, brain=brain, kind=scene.kind)


def _bumps(rng: np.random.Generator, plan: LesionPlan | None) -> tuple[Bump, ...]:
    """Mass effect in six of ten tumours (large in a quarter of those), odd ventricles in half of all cases."""
    bumps = []
    if plan is not None and rng.random() < 0.6:
        large = rng.random() < 0.25
        radius = max(ball_radius_mm(plan.whole_ml) if large else plan.core_radius_mm * 1.3, 8.0)
        strength = float(rng.uniform(0.35, 0.55) if large else rng.uniform(0.1, 0.45))
        bumps.append(Bump(centre=plan.centre, radius_mm=radius, strength=strength))
    if rng.random() < 0.5:
        centre = np.array([0.0, -4.0, 6.0])
        bumps.append(Bump(centre=centre, radius_mm=24.0, strength=float(rng.uniform(-0.2, 0.35))))
    return tuple(bumps)


def _scanned(
    rng: np.random.Generator, scene: Scene, brain: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardised images and their quality vectors, one per structural sequence."""
    images, quality = [], []
    for clean in render(rng, scene).values():
        scanned, how = acquire(rng, clean, brain, scene.spacing_mm)
        images.append(z_score_in_brain(scanned, brain))
        quality.append(_measured(rng, how))
    return np.stack(images), np.array(quality, dtype=np.float32)


def _measured(rng: np.random.Generator, how: Acquisition) -> tuple[float, float, float]:
    """The quality as preparation would estimate it, with its own error."""
    motion = float(np.clip(how.motion + rng.normal(0.0, 0.05), 0.0, 1.0))
    return how.log_snr + float(rng.normal(0.0, 0.25)), motion, how.thickness_mm
