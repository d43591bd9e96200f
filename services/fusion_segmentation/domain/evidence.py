"""From Dirichlet evidence to labels and vacuity on the 1 mm grid of the box.

Evidence e >= 0 per class, alpha = e + 1, S = sum of alpha; vacuity = K / S (Sensoy et al., NeurIPS 2018), here stored
as uint8 with 255 = 1. The label is the class with most evidence; a tie goes to the lower label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.errors import Permanent
from services.core.imaging.labels import Label
from services.core.imaging.volume import Array
from services.fusion_segmentation.domain.box import Window, any_pooled, upsampled, whole, window_around

CLASSES = len(Label)
BRIM = np.float32(CLASSES)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """Labels and vacuity (255 = 1), both uint8 (x, y, z) at 1 mm: of the whole box, or of one crop."""

    labels: NDArray[np.uint8]
    vacuity: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropReading:
    """What the fine model said about one window of the box."""

    window: Window
    reading: Reading


def checked_evidence(evidence: Array) -> NDArray[np.float32]:
    """Evidence (class, x, y, z) as float32. Raises Permanent when the model gave what cannot be evidence."""
    field = evidence.astype(np.float32)
    if not np.isfinite(field.sum()) or field.min() < 0:
        raise Permanent(
            "MODEL_OUTPUT_INVALID",
            "the coarse model gave evidence that is negative or not finite",
            "Check the model repository against its manifest.",
        )
    return field


def coarse_labels(evidence: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels on the evidence's own grid."""
    return _strongest([evidence[k] for k in range(CLASSES)])


def read_coarse(evidence: NDArray[np.float32]) -> Reading:
    """Labels and vacuity of the whole box at 1 mm, from evidence at 2 mm.

    Interpolation is a convex combination, so background wins wherever it wins at all eight neighbours: only a window
    around the rest is interpolated class by class.
    """
    shape = (evidence.shape[1], evidence.shape[2], evidence.shape[3])
    labels = np.zeros(tuple(2 * n for n in shape), np.uint8)
    window = window_around(coarse_labels(evidence) != Label.BACKGROUND, margin=1)
    if window is not None:
        labels[window.fine] = _strongest([upsampled(evidence[k], window) for k in range(CLASSES)])
    return Reading(labels=labels, vacuity=_vacuity(upsampled(evidence.sum(axis=0), whole(shape))))


def at_2mm(finished: Reading, brain: NDArray[np.bool_], evidence: NDArray[np.float32]) -> Reading:
    """The network's own 2 mm labels where the finished 1 mm mask of the same evidence has a lesion; their vacuity.

    Enhancing tissue that was not believed at 1 mm is core here too.
    """
    labels = np.where(any_pooled(finished.labels > 0), coarse_labels(evidence), np.uint8(Label.BACKGROUND))
    if not (finished.labels == Label.ET).any():
        labels[labels == Label.ET] = Label.NCR
    return Reading(labels=labels, vacuity=_vacuity(evidence.sum(axis=0)) * any_pooled(brain))


def highest_probability(evidence: NDArray[np.float32], label: Label) -> float:
    """The highest expected probability alpha / S of a label where it wins; 0 where it wins nowhere."""
    wins = coarse_labels(evidence) == label
    if not wins.any():
        return 0.0
    alpha = evidence[:, wins] + np.float32(1)
    return float((alpha[label] / alpha.sum(axis=0)).max())


def lesion_belief(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Belief mass of all labels but the background (sum of their evidence / S), on the evidence's own grid: unlike
    the expected probability it is zero where there is no evidence at all.
    """
    lesion = evidence[1:].sum(axis=0)
    belief: NDArray[np.float32] = lesion / (lesion + evidence[Label.BACKGROUND] + BRIM)
    return belief


def evidence_crop(evidence: NDArray[np.float32], window: Window) -> NDArray[np.float16]:
    """Evidence (class, x, y, z) at 1 mm inside a window, as the fine model takes it."""
    return np.stack([upsampled(evidence[k], window).astype(np.float16) for k in range(CLASSES)])


def merged(coarse: Reading, crops: Sequence[CropReading]) -> Reading:
    """The fine answer inside the crops, the coarse one elsewhere. Where crops overlap the lower vacuity wins;
    equal vacuity leaves the earlier crop's answer.
    """
    labels, vacuity = coarse.labels.copy(), coarse.vacuity.copy()
    answered = np.zeros(labels.shape, np.bool_)
    for crop in crops:
        part = crop.window.fine
        better = ~answered[part] | (crop.reading.vacuity < vacuity[part])
        np.copyto(labels[part], crop.reading.labels, where=better)
        np.copyto(vacuity[part], crop.reading.vacuity, where=better)
        answered[part] = True
    return Reading(labels=labels, vacuity=vacuity)


def _strongest(fields: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    best = fields[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    for label in range(1, len(fields)):
        labels[fields[label] > best] = label
        np.maximum(best, fields[label], out=best)
    return labels


def _vacuity(total: NDArray[np.float32]) -> NDArray[np.uint8]:
    total += BRIM
    np.divide(np.float32(255) * BRIM, total, out=total)
    np.rint(total, out=total)
    return total.astype(np.uint8)
