"""A phantom study as the networks see a real one: brain-centred canonical box, standardised, quality measured simply.

It skips what preparation has to find out (which sequence is which, where the head lies, what is brain): the truth
stands in for it, so errors of preparation are not in figures obtained this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.canonical import canonical_grid
from services.core.imaging.standardise import scaled, z_score_in_brain
from services.core.imaging.volume import Affine, Grid, Volume
from services.phantom.spec import PhantomStudy

USUAL_LOG_SNR, USUAL_MOTION = 3.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedCase:
    """One case. `image` (slot of `Modality`, x, y, z), zero outside the brain and where missing; `quality` per slot
    log SNR, motion 0 to 1 and slice thickness in mm, zero where missing; `labels`: glioserve.labels.v1.
    """

    image: NDArray[np.float16]
    available: NDArray[np.float32]
    quality: NDArray[np.float32]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]


def prepared(
    study: PhantomStudy, spacing_mm: float = 1.0, slots: tuple[Modality, ...] = tuple(Modality)
) -> PreparedCase:
    """The study in the canonical box at 1 or 2 mm, moved back by its known motion; `slots`: the first of `Modality`."""
    return prepared_volumes(
        study.volumes, study.brain_mask, study.labels, spacing_mm, slots, motions=study.to_reference
    )


def prepared_volumes(
    volumes: Mapping[Modality, Volume],
    brain: Volume,
    labels: Volume,
    spacing_mm: float = 1.0,
    slots: tuple[Modality, ...] = tuple(Modality),
    motions: Mapping[Modality, Affine] | None = None,
) -> PreparedCase:
    """The same for any volumes in one frame. `motions`: per sequence the rigid map to the frame of `labels`, RAS mm."""
    inside = np.argwhere(brain.data > 0)
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2.0
    grid = canonical_grid(brain.affine[:3, :3] @ middle + brain.affine[:3, 3], spacing_mm)
    mask = _resampled(brain, grid, np.eye(4), order=0) > 0
    image = np.zeros((len(slots), *grid.shape), dtype=np.float16)
    quality = np.zeros((len(slots), 3), dtype=np.float32)
    for slot, modality in enumerate(slots):
        volume = volumes.get(modality)
        if volume is None:
            continue
        motion = np.eye(4) if motions is None else motions[modality]
        voxels = _resampled(volume, grid, motion, order=1)
        image[slot] = z_score_in_brain(voxels, mask) if modality in STRUCTURAL else scaled(modality, voxels, mask)
        quality[slot] = (USUAL_LOG_SNR, USUAL_MOTION, max(volume.grid.spacing))
    truth = _resampled(labels, grid, np.eye(4), order=0).astype(np.uint8)
    return PreparedCase(
        image=image, available=(quality[:, 2] > 0).astype(np.float32), quality=quality, labels=truth, brain=mask
    )


def _resampled(volume: Volume, grid: Grid, to_reference: Affine, order: int) -> NDArray[np.float32]:
    to_voxel = np.linalg.inv(to_reference @ volume.affine) @ grid.affine
    out: NDArray[np.float32] = ndimage.affine_transform(
        volume.data.astype(np.float32), to_voxel[:3, :3], to_voxel[:3, 3], grid.shape, order=order, prefilter=False
    )
    return out
