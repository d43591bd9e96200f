"""The peer that a test set must defeat: thresholds by Otsu (1979) on FLAIR for WT and on T1c for TC and ET."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import Label
from services.evaluation.thinning import Case

PASSES = 3
"""The number that does best on selection phantoms: a peer that is easy to beat proves nothing."""


def otsu(values: NDArray[np.float32], bins: int = 128) -> float:
    """The threshold that separates two classes best by the variance between them."""
    count, edges = np.histogram(values, bins)
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(count)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_below = np.cumsum(count * middle) / below
        mean_above = (np.sum(count * middle) - np.cumsum(count * middle)) / above
        between = np.nan_to_num(below * above * (mean_below - mean_above) ** 2)
    return float(middle[int(np.argmax(between))])


def brightest(values: NDArray[np.float32], passes: int = PASSES) -> float:
    """Otsu again and again on what is above: fluid goes first, then tissue by tissue."""
    threshold = -np.inf
    for _ in range(passes):
        values = values[values > threshold]
        threshold = otsu(values)
    return float(threshold)


def thresholded(case: Case) -> NDArray[np.uint8]:
    """Labels: bright on FLAIR is tumour; inside it, what is bright on T1c enhances; each its largest connected part,
    holes are core.
    """
    flair, contrast = (case.image[STRUCTURAL.index(m)].astype(np.float32) for m in (Modality.T2F, Modality.T1C))
    whole = _largest((flair > brightest(flair[case.brain])) & case.brain)
    labels = np.where(whole, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    inside = ndimage.binary_fill_holes(whole)
    if inside.any():
        enhancing = _largest((contrast > otsu(contrast[inside])) & inside)
        labels[ndimage.binary_fill_holes(enhancing)] = Label.NCR
        labels[enhancing] = Label.ET
    return labels


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    largest: NDArray[np.bool_] = parts == int(np.argmax(sizes))
    return largest
