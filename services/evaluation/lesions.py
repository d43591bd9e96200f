"""Lesion by lesion, in the manner of BraTS 2023: which true lesions were found, and what was found that is none.

A lesion is a connected part (corners connect) of at least `least` voxels. A true lesion is matched with every
predicted one that overlaps it after it was grown by `grow` voxels; its Dice is taken over those. A predicted lesion
that matches nothing counts as a false one, with Dice 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.evaluation.metrics import Mask, dice

_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionScores:
    """Counts, and the mean Dice over true and false lesions; 1 where there is neither."""

    found: int
    missed: int
    false: int
    dice: float


def lesion_scores(guess: Mask, truth: Mask, *, least: int = 50, grow: int = 1) -> LesionScores:
    """Scores of one region of one case."""
    true_parts, true_count = _parts(truth, least)
    guess_parts, guess_count = _parts(guess, least)
    used: set[int] = set()
    scores = []
    for number in range(1, true_count + 1):
        lesion = true_parts == number
        near = ndimage.binary_dilation(lesion, _NEIGHBOURS, iterations=grow) if grow else lesion
        matches = {int(n) for n in np.unique(guess_parts[near])} - {0}
        used |= matches
        scores.append(dice(np.isin(guess_parts, list(matches)), lesion) if matches else 0.0)
    false = guess_count - len(used)
    missed = sum(score == 0.0 for score in scores)
    everything = [*scores, *[0.0] * false]
    mean = float(np.mean(everything)) if everything else 1.0
    return LesionScores(found=true_count - missed, missed=missed, false=false, dice=mean)


def _parts(mask: Mask, least: int) -> tuple[NDArray[np.int32], int]:
    parts, _ = ndimage.label(mask, structure=_NEIGHBOURS)
    sizes = np.bincount(parts.reshape(-1))
    kept = np.flatnonzero(sizes >= least)
    kept = kept[kept > 0]
    renamed = np.zeros(sizes.size, dtype=np.int32)
    renamed[kept] = np.arange(1, kept.size + 1)
    out: NDArray[np.int32] = renamed[parts]
    return out, int(kept.size)
