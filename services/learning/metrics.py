"""Dice per region, defined for empty masks, and its mean over cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.labels import REGIONS, region_mask


def dice(guess: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 when both are empty, so 0 when only one is."""
    size = int(guess.sum()) + int(truth.sum())
    return 1.0 if size == 0 else 2.0 * int((guess & truth).sum()) / size


def region_dices(guess: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
    """Dice of WT, TC and ET between two label maps of glioserve.labels.v1."""
    return {name: dice(region_mask(guess, name), region_mask(truth, name)) for name in REGIONS}


def mean_dices(cases: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each region over cases; NaN without cases."""
    rows = list(cases)
    return {name: float(np.mean([row[name] for row in rows])) if rows else float("nan") for name in REGIONS}
