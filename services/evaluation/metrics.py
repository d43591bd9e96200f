"""Overlap of masks per region, defined for empty ones: both empty is right (1), one empty is wrong (0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.labels import REGIONS, region_mask

Mask = NDArray[np.bool_]


def dice(guess: Mask, truth: Mask) -> float:
    """2 |A and B| / (|A| + |B|); 1 when both are empty, so 0 when only one is."""
    size = int(guess.sum()) + int(truth.sum())
    return 1.0 if size == 0 else 2.0 * int((guess & truth).sum()) / size


def region_dices(guess: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
    """Dice of WT, TC and ET between two label maps of glioserve.labels.v1."""
    return {name: dice(region_mask(guess, name), region_mask(truth, name)) for name in REGIONS}


def mean_dices(cases: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each region over cases. Raises ValueError without cases."""
    rows = list(cases)
    if not rows:
        raise ValueError("there is no mean over no cases")
    return {name: float(np.mean([row[name] for row in rows])) for name in REGIONS}


def overall_dice(cases: Iterable[Mapping[str, float]]) -> float:
    """Mean over regions and cases. Raises ValueError without cases."""
    return float(np.mean(list(mean_dices(cases).values())))


def volume_bias(guess: Mask, truth: Mask, voxel_ml: float) -> float:
    """Predicted less true volume in ml."""
    return (int(guess.sum()) - int(truth.sum())) * voxel_ml


def sensitivity(guess: Mask, truth: Mask) -> float:
    """Share of the true voxels that were found; 1 where there is none."""
    size = int(truth.sum())
    return 1.0 if size == 0 else int((guess & truth).sum()) / size


def specificity(guess: Mask, truth: Mask, inside: Mask) -> float:
    """Share of the other voxels of `inside` (the brain) that were left alone; 1 where there is none."""
    other = inside & ~truth
    size = int(other.sum())
    return 1.0 if size == 0 else 1.0 - int((guess & other).sum()) / size
