"""What a mask must obey whatever the network says: it lies in the brain, and a few stray voxels are no lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.fusion_segmentation.domain.evidence import Reading, highest_probability, lesion_belief

_NEIGHBOURS = np.ones((3, 3, 3), dtype=np.int8)  # corners count: thin rims hang together


def cleaned(labels: NDArray[np.uint8], brain: NDArray[np.bool_], min_voxels: int) -> NDArray[np.uint8]:
    """Labels inside the brain; lesions (any labels, corners connect) of fewer than `min_voxels` voxels are dropped."""
    kept = np.where(brain, labels, np.uint8(Label.BACKGROUND))
    box = ndimage.find_objects(kept > 0, max_label=1)[0]
    if box is None:
        return kept
    part = kept[box]
    components, _ = ndimage.label(part > 0, structure=_NEIGHBOURS)
    small = np.bincount(components.reshape(-1)) < min_voxels
    small[0] = False
    if small.any():
        part[small[components]] = Label.BACKGROUND
    return kept


def without_doubtful_enhancement(labels: NDArray[np.uint8], sure: bool) -> NDArray[np.uint8]:
    """Labels in which enhancing tissue that the network is nowhere `sure` of is core: a faint patch is no rim."""
    if sure:
        return labels
    return np.where(labels == Label.ET, np.uint8(Label.NCR), labels)


def without_doubtful_lesions(
    labels: NDArray[np.uint8], evidence: NDArray[np.float32], least: float
) -> NDArray[np.uint8]:
    """Labels (1 mm) without the connected lesions in which the coarse `evidence` (2 mm) nowhere gives all lesion labels
    together a belief of `least`: a normal structure that looks a little odd.
    """
    box = ndimage.find_objects(labels > 0, max_label=1)[0]
    if box is None:
        return labels
    part = labels[box]
    components, count = ndimage.label(part > 0, structure=_NEIGHBOURS)
    coarse = tuple(slice(side.start // 2, (side.stop + 1) // 2) for side in box)
    belief = lesion_belief(evidence[(slice(None), *coarse)])
    at_1_mm = np.ix_(*(np.arange(side.start, side.stop) // 2 - side.start // 2 for side in box))
    surest = ndimage.maximum(belief[at_1_mm], components, np.arange(count + 1))
    doubtful = np.asarray(surest) < least
    doubtful[0] = False
    if not doubtful.any():
        return labels
    kept = labels.copy()
    kept[box][doubtful[components]] = Label.BACKGROUND
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRules:
    """`min_voxels`: smaller lesions (1 mm voxels) are dropped; `sure`: probability that enhancing tissue needs
    somewhere; `lesion`: belief that every lesion needs somewhere.
    """

    min_voxels: int
    sure: float
    lesion: float


def finished(reading: Reading, brain: NDArray[np.bool_], evidence: NDArray[np.float32], rules: MaskRules) -> Reading:
    """Labels that obey anatomy and the coarse `evidence`; vacuity is zero outside the brain, where the network is
    not asked.
    """
    labels = cleaned(reading.labels, brain, rules.min_voxels)
    labels = without_doubtful_lesions(labels, evidence, rules.lesion)
    labels = without_doubtful_enhancement(labels, highest_probability(evidence, Label.ET) >= rules.sure)
    return Reading(labels=labels, vacuity=reading.vacuity * brain)


def touches_edge(labels: NDArray[np.uint8]) -> bool:
    """True when a lesion reaches the outermost voxels of the box: part of it may lie outside."""
    faces = (np.take(labels, [0, -1], axis=axis) for axis in range(3))
    return any(bool(face.any()) for face in faces)


def mean_vacuity(labels: NDArray[np.uint8], vacuity: NDArray[np.uint8]) -> float | None:
    """Mean vacuity (0 to 1) over the lesion's voxels; None without a lesion."""
    lesion = vacuity[labels != Label.BACKGROUND]
    return float(lesion.mean(dtype=np.float64) / 255.0) if lesion.size else None
