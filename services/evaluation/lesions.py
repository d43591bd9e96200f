"""Lesion by lesion, in the manner of BraTS 2023: which true lesions were found, and what was found that is none.

A lesion is a connected part (corners connect) of at least `least` voxels. A true lesion is matched with every
predicted one that overlaps it after it was grown by `grow` voxels; its Dice is taken over those. A predicted lesion
that matches nothing counts as a false one. Missed and false ones have Dice 0 and the diagonal of the box as HD95.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.evaluation.metrics import Mask, dice
from services.evaluation.surfaces import surface_scores

_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionScores:
    """Counts, and the mean Dice and HD95 (mm) over true and false lesions; 1 and 0 where there is neither."""

    found: int
    missed: int
    false: int
    dice: float
    hd95: float


def lesion_scores(guess: Mask, truth: Mask, *, least: int = 50, grow: int = 1, spacing_mm: float = 1.0) -> LesionScores:
    """Scores of one region of one case."""
    true_parts, true_count = _parts(truth, least)
    guess_parts, guess_count = _parts(guess, least)
    diagonal = float(np.linalg.norm(truth.shape) * spacing_mm)
    used: set[int] = set()
    scores: list[tuple[float, float]] = []
    for number in range(1, true_count + 1):
        lesion = true_parts == number
        near = ndimage.binary_dilation(lesion, _NEIGHBOURS, iterations=grow) if grow else lesion
        matches = {int(n) for n in np.unique(guess_parts[near])} - {0}
        used |= matches
        match = np.isin(guess_parts, list(matches))
        scores.append((dice(match, lesion), surface_scores(match, lesion, spacing_mm)["hd95"]))
    false = guess_count - len(used)
    missed = sum(overlap == 0.0 for overlap, _ in scores)
    scores += [(0.0, diagonal)] * false
    overlap, distance = np.mean(scores, axis=0) if scores else (1.0, 0.0)
    return LesionScores(
        found=true_count - missed, missed=missed, false=false, dice=float(overlap), hd95=float(distance)
    )


def _parts(mask: Mask, least: int) -> tuple[NDArray[np.int32], int]:
    parts, _ = ndimage.label(mask, structure=_NEIGHBOURS)
    sizes = np.bincount(parts.reshape(-1))
    kept = np.flatnonzero(sizes >= least)
    kept = kept[kept > 0]
    renamed = np.zeros(sizes.size, dtype=np.int32)
    renamed[kept] = np.arange(1, kept.size + 1)
    out: NDArray[np.int32] = renamed[parts]
    return out, int(kept.size)
