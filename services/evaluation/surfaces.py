"""Distances between surfaces in mm: HD95 and NSD, by the surface elements of `surface-distance` (Nikolov 2021).

Both masks empty: distance 0, agreement 1. One empty: the distance is the diagonal of the box that was looked at (a
finite worst case), agreement 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import surface_distance
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
TOLERANCES_MM = (1.0, 2.0)


def surface_scores(guess: Mask, truth: Mask, spacing_mm: float = 1.0) -> dict[str, float]:
    """hd95 in mm, and nsd at each tolerance: the share of both surfaces that lies within it of the other."""
    names = [f"nsd{tolerance:g}" for tolerance in TOLERANCES_MM]
    if not guess.any() and not truth.any():
        return {"hd95": 0.0, **dict.fromkeys(names, 1.0)}
    if not guess.any() or not truth.any():
        diagonal = float(np.linalg.norm(np.array(guess.shape) * spacing_mm))
        return {"hd95": diagonal, **dict.fromkeys(names, 0.0)}
    box = _box(guess | truth)
    found: Any = surface_distance.compute_surface_distances(truth[box], guess[box], (spacing_mm,) * 3)
    scores = {"hd95": float(surface_distance.compute_robust_hausdorff(found, 95))}
    for name, tolerance in zip(names, TOLERANCES_MM, strict=True):
        scores[name] = float(surface_distance.compute_surface_dice_at_tolerance(found, tolerance))
    return scores


def _box(mask: Mask) -> tuple[slice, ...]:
    found = np.argwhere(mask)
    low, high = np.maximum(found.min(axis=0) - 2, 0), found.max(axis=0) + 3
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
