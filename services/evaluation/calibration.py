"""How far confidence can be believed: calibration error, Brier score, uncertainty where the mask is wrong, AUC.

Bins hold equal widths of confidence. Sums, not means, are kept per case, so that cases of any size add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
BINS = 15
NEAR_MM = 10.0
UNCERTAIN_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Per bin of confidence: how many, their summed confidence, how many were right."""

    count: tuple[float, ...]
    confidence: tuple[float, ...]
    right: tuple[float, ...]


def binned(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS) -> Bins:
    """Flat confidences (0 to 1) with whether each was right."""
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    sums = [np.bincount(index, weights=w, minlength=bins) for w in (np.ones(index.size), confidence, right)]
    count, total, hits = (tuple(float(v) for v in values) for values in sums)
    return Bins(count=count, confidence=total, right=hits)


def added(parts: Sequence[Bins]) -> Bins:
    """The bins of several cases together. Raises ValueError without any."""
    if not parts:
        raise ValueError("there is nothing to add")
    rows = [np.sum([getattr(p, name) for p in parts], axis=0) for name in ("count", "confidence", "right")]
    count, confidence, right = (tuple(float(v) for v in row) for row in rows)
    return Bins(count=count, confidence=confidence, right=right)


def expected_calibration_error(bins: Bins) -> float:
    """Mean |confidence - accuracy|, weighted by how many lie in the bin (Naeini 2015); 0 for nothing."""
    count, total, hits = (np.array(v) for v in (bins.count, bins.confidence, bins.right))
    whole = count.sum()
    return 0.0 if whole == 0 else float(np.abs(total - hits).sum() / whole)


def near(masks: NDArray[np.bool_], spacing_mm: float) -> NDArray[np.bool_]:
    """Voxels within 10 mm of the mask; none for an empty one."""
    if not masks.any():
        return np.zeros_like(masks)
    close: NDArray[np.bool_] = ndimage.distance_transform_edt(~masks, sampling=spacing_mm) <= NEAR_MM
    return close


def wrong_among_uncertain(uncertainty: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float | None:
    """Share of wrong voxels that lie in the most uncertain tenth; ties count in part. None where nothing is wrong."""
    errors = int(wrong.sum())
    if errors == 0:
        return None
    take = UNCERTAIN_SHARE * uncertainty.size
    limit = float(np.quantile(uncertainty, 1 - UNCERTAIN_SHARE))
    above, ties = uncertainty > limit, uncertainty == limit
    share = (take - int(above.sum())) / max(int(ties.sum()), 1)
    caught = int((above & wrong).sum()) + min(max(share, 0.0), 1.0) * int((ties & wrong).sum())
    return caught / errors


def auc(score: Array, truth: NDArray[np.bool_]) -> float | None:
    """Chance that a present case scores above an absent one, ties count half; None when one of them is missing."""
    present, absent = score[truth], score[~truth]
    if present.size == 0 or absent.size == 0:
        return None
    order = np.concatenate([present, absent])
    ranks = _mean_ranks(order)
    hits = float(ranks[: present.size].sum()) - present.size * (present.size + 1) / 2
    return hits / (present.size * absent.size)


def _mean_ranks(values: Array) -> Array:
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Array = ((last - count + 1 + last) / 2)[where]
    return ranks


def risk_coverage(confidence: Array, risk: Array) -> tuple[list[float], list[float]]:
    """Coverage 1/n .. 1 and the mean risk of the most confident cases up to there."""
    order = np.argsort(-confidence, kind="stable")
    running = np.cumsum(risk[order]) / np.arange(1, risk.size + 1)
    return [(n + 1) / risk.size for n in range(risk.size)], [float(v) for v in running]
