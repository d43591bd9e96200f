"""Instances one to one, as `panoptica` counts them: a true part is found by the one predicted part that covers it.

Parts are connected with corners. Pairs are taken best overlap first; a pair counts from an IoU of 0.5. Nothing against
nothing is right (quality 1, Dice 1); something against nothing is wrong (0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.evaluation.metrics import Mask

_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScores:
    """Counts; `quality`: F1 of finding parts; `dice`: mean over the pairs; their product is the panoptic quality."""

    found: int
    false: int
    missed: int
    quality: float
    dice: float


def instance_scores(guess: Mask, truth: Mask, *, least_iou: float = 0.5) -> InstanceScores:
    """Kirillov 2019 on connected parts of two masks."""
    guess_parts, guesses = ndimage.label(guess, structure=_NEIGHBOURS)
    true_parts, truths = ndimage.label(truth, structure=_NEIGHBOURS)
    if guesses == 0 and truths == 0:
        return InstanceScores(found=0, false=0, missed=0, quality=1.0, dice=1.0)
    shared = _shared(guess_parts, true_parts, (guesses, truths))
    sizes = (np.bincount(guess_parts.ravel())[1:, None] + np.bincount(true_parts.ravel())[None, 1:]).astype(float)
    iou, dices = shared / (sizes - shared), 2 * shared / sizes
    pairs = _pairs(iou, least_iou)
    found = len(pairs)
    return InstanceScores(
        found=found, false=guesses - found, missed=truths - found, quality=2 * found / (guesses + truths),
        dice=float(np.mean([dices[pair] for pair in pairs])) if pairs else 0.0,
    )  # fmt: skip


def _shared(guess: NDArray[np.int32], truth: NDArray[np.int32], counts: tuple[int, int]) -> NDArray[np.float64]:
    """Voxels in common, predicted parts by true parts."""
    both = (guess > 0) & (truth > 0)
    table = np.zeros(counts)
    np.add.at(table, (guess[both] - 1, truth[both] - 1), 1.0)
    return table


def _pairs(iou: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    order = np.dstack(np.unravel_index(np.argsort(-iou, axis=None, kind="stable"), iou.shape))[0]
    for row, column in order:
        if iou[row, column] < least:
            break
        if all(row != r and column != c for r, c in pairs):
            pairs.append((int(row), int(column)))
    return pairs
