"""Phantom studies and the reference case as 1 mm cases in the canonical box, prepared as simply as they allow.

Both are skull-stripped and aligned already: resample around the brain, z-score inside it. Nothing is learnt from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.canonical import canonical_grid
from services.core.imaging.standardise import z_score_in_brain
from services.core.imaging.volume import Grid, Volume
from services.learning.feeder import Packed
from services.phantom.generate import generate
from services.phantom.spec import Kind, PhantomSpec

PHANTOM_SEEDS = 7000
_KINDS = (Kind.GLIOBLASTOMA, Kind.GLIOBLASTOMA, Kind.ASTROCYTOMA, Kind.OLIGODENDROGLIOMA)
USUAL_QUALITY = (3.0, 0.1, 1.0)  # log SNR, motion, slice thickness in mm, where nothing was measured


def phantom_case(number: int) -> Packed:
    """The `number`-th evaluation phantom: half glioblastomas, a quarter each astrocytoma and oligodendroglioma."""
    study = generate(PHANTOM_SEEDS + number, PhantomSpec(kind=_KINDS[number % len(_KINDS)]))
    return canonical_case(study.volumes, study.brain_mask, study.labels)


def reference_case(folder: Path) -> Packed:
    """The real case below `folder`/glioma_case; its mask is an algorithm's. Raises OSError when a file is missing."""
    volumes = {m: _read(folder / "glioma_case" / f"{m}.nii.gz", m) for m in STRUCTURAL}
    labels = _read(folder / "glioma_case" / "outputs_segmentation.nii.gz", "labels")
    brain = np.any([v.data != 0 for v in volumes.values()], axis=0)
    return canonical_case(volumes, labels.with_data(brain.astype(np.uint8)), labels)


def _read(path: Path, modality: Modality | str) -> Volume:
    image: Any = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    return Volume(data=data, affine=np.asarray(image.affine, dtype=np.float64), modality=modality, units="a.u.")


def canonical_case(volumes: Mapping[Modality, Volume], brain: Volume, labels: Volume) -> Packed:
    """Aligned volumes, brain mask and labels on one grid or several, as a case of the 1 mm canonical box."""
    inside = np.argwhere(brain.data > 0)
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2.0
    grid = canonical_grid(brain.affine[:3, :3] @ middle + brain.affine[:3, 3])
    mask = _resampled(brain, grid, order=0) > 0
    image = np.zeros((len(STRUCTURAL), *grid.shape), dtype=np.float16)
    available = np.array([m in volumes for m in STRUCTURAL], dtype=np.float32)
    for slot, modality in enumerate(STRUCTURAL):
        if modality in volumes:
            image[slot] = z_score_in_brain(_resampled(volumes[modality], grid, order=1), mask)
    quality = available[:, None] * np.array(USUAL_QUALITY, dtype=np.float32)
    truth = _resampled(labels, grid, order=0).astype(np.uint8)
    return Packed(image=image, available=available, quality=quality, labels=truth)


def _resampled(volume: Volume, grid: Grid, order: int) -> NDArray[np.float32]:
    to_voxel = np.linalg.inv(volume.affine) @ grid.affine
    out: NDArray[np.float32] = ndimage.affine_transform(
        volume.data.astype(np.float32),
        to_voxel[:3, :3],
        offset=to_voxel[:3, 3],
        output_shape=grid.shape,
        order=order,
    )
    return out
