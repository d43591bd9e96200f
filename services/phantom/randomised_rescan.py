"""The same prepared case through another scanner: a grown phantom costs seconds, so training sees each a few times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import Label
from services.core.imaging.standardise import LIMIT, z_score_in_brain
from services.phantom.randomised import DROPOUT_SHARE, LEFT, LEFT_SHARE, TrainingCase
from services.phantom.randomised_fields import Field, smooth_noise

SHARP = len(STRUCTURAL)
FUNCTIONAL_MISSING, MOVED_SHARE = 0.4, 0.4
INTRAOPERATIVE_SHARE, INTRAOPERATIVE = 0.35, (Modality.T1C, Modality.T1C, Modality.T2F, Modality.T2W)
"""Of the operated cases, those of which one sequence alone is left: in the theatre the others show what was."""


def rescanned(rng: np.random.Generator, case: TrainingCase, spacing_mm: float = 2.0) -> TrainingCase:
    """Gamma, blur, bias and noise on structural sequences, noise on functional maps, one sequence a little displaced.

    Some sequences go missing by the clinical mixture. Labels and mask move with the flip only. `image` as
    `TrainingCase`, any number of slots from four on; `quality` follows the noise added.
    """
    flip = bool(rng.random() < 0.5)
    image = np.array(case.image[:, ::-1] if flip else case.image, dtype=np.float32)
    labels = np.ascontiguousarray(case.labels[::-1] if flip else case.labels)
    brain = np.ascontiguousarray(case.brain[::-1] if flip else case.brain)
    available, quality = case.available.copy(), case.quality.copy()
    _drop(rng, available, operated=bool((labels == Label.RC).any()))
    moved = int(rng.integers(SHARP)) if rng.random() < MOVED_SHARE else -1
    for slot in np.flatnonzero(case.available):
        if not available[slot]:
            image[slot] = 0.0
        elif slot < SHARP:
            source = _displaced(rng, image[slot]) if slot == moved else image[slot]
            taken, noise = _structural(rng, source, spacing_mm)
            image[slot] = z_score_in_brain(taken, brain)
            quality[slot, 0] = -0.5 * np.log(np.exp(-2.0 * quality[slot, 0]) + noise**2)
        else:
            noisy = image[slot] + rng.standard_normal(brain.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 0.3))
            image[slot] = np.where(brain, np.clip(noisy, -LIMIT, LIMIT), 0.0)
    quality *= available[:, None]
    return TrainingCase(image=image, available=available, quality=quality, labels=labels, brain=brain, kind=case.kind)


def _drop(rng: np.random.Generator, available: NDArray[np.float32], *, operated: bool) -> None:
    """Sequences that go missing, in place; at least one structural sequence that was there stays."""
    if operated and rng.random() < INTRAOPERATIVE_SHARE:
        alone = STRUCTURAL.index(INTRAOPERATIVE[int(rng.integers(len(INTRAOPERATIVE)))])
        if available[alone]:
            available[:alone] = available[alone + 1 :] = 0.0
            return
    if rng.random() < DROPOUT_SHARE:
        left = np.zeros(SHARP, dtype=np.float32)
        left[list(LEFT[int(rng.choice(len(LEFT), p=LEFT_SHARE))])] = 1.0
        if (available[:SHARP] * left).any():
            available[:SHARP] *= left
    available[SHARP:] *= rng.random(len(available) - SHARP) > FUNCTIONAL_MISSING


def _displaced(rng: np.random.Generator, image: Field) -> Field:
    """Up to a voxel along each of two axes."""
    for axis in rng.permutation(3)[:2]:
        part = np.float32(rng.uniform(0.0, 1.0))
        image = (1 - part) * image + part * np.roll(image, int(rng.choice((-1, 1))), int(axis))
    return image


def _structural(rng: np.random.Generator, image: Field, spacing_mm: float) -> tuple[Field, float]:
    """The sequence through gamma, blur, bias and noise, and the noise as a share of the mean signal."""
    if rng.random() < 0.3:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.8), truncate=2.0)
    signal = np.clip(1.0 + 0.19 * image, 0.02, None) ** np.float32(rng.uniform(0.75, 1.3))
    if rng.random() < 0.5:
        signal = signal * np.exp(np.float32(rng.uniform(0.0, 0.1)) * smooth_noise(rng, image.shape, 70.0 / spacing_mm))
    sigma = float(rng.uniform(0.0, 0.06))
    out: Field = signal + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    return out, sigma
