"""Intensity standardisation: the same functions prepare training cases and studies.

Structural sequences: clip to the 0.5 and 99.5 percentile inside the brain, z-score inside the brain, clip to +-5, zero
outside. Functional maps: fixed scales, because their units mean something.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.core.imaging.volume import Volume

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
LIMIT = 5.0
Z_UNITS = "z-score in brain"


def standardise(volume: Volume, brain: Volume) -> Volume:
    """`volume` as float32 z-scores inside the mask `brain` (same grid, non-zero is brain), zero outside.

    Raises ValueError when the grids differ and Refused (`EMPTY_BRAIN`, `FLAT_IMAGE`) when there is nothing to scale.
    """
    if not volume.grid.same_as(brain.grid):
        raise ValueError("the brain mask lies on another grid than the volume")
    voxels = z_score_in_brain(volume.data, brain.data > 0)
    return Volume(
        data=voxels,
        affine=volume.affine,
        modality=volume.modality,
        units=Z_UNITS,
        provenance={**volume.provenance, "standardised": "clip 0.5-99.5 %, z-score in brain, +-5"},
    )


def z_score_in_brain(voxels: NDArray[Any], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The array form of `standardise`, any axis order. Non-finite voxels count as zero."""
    inside = np.nan_to_num(voxels[brain].astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if inside.size == 0:
        raise Refused("EMPTY_BRAIN", "the brain mask is empty", "Check the head coverage of the reference sequence.")
    low, high = np.percentile(inside, (LOW_PERCENT, HIGH_PERCENT))
    inside = np.clip(inside, low, high)
    spread = float(inside.std(dtype=np.float64))
    if spread < 1e-6 * max(1.0, abs(float(high))):
        raise Refused("FLAT_IMAGE", "the image has no contrast inside the brain", "Send the series again.")
    standard = np.zeros(voxels.shape, dtype=np.float32)
    standard[brain] = np.clip((inside - float(inside.mean(dtype=np.float64))) / spread, -LIMIT, LIMIT)
    return standard


_SCALES: Mapping[Modality, tuple[float, float]] = MappingProxyType(
    {
        Modality.ADC: (1.0, 0.5),
        Modality.RCBV: (1.5, 1.5),
        Modality.APT: (1.0, 1.0),
        Modality.QSM: (0.0, 0.06),
        Modality.FA: (0.25, 0.15),
        Modality.CHO_NAA: (0.8, 0.8),
    }
)
"""Centre and scale of the functional maps in their own units (`core.contracts.enums.UNITS`): usual brain and spread."""


def scaled(modality: Modality, voxels: NDArray[Any], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A functional map for the network: (value - centre) / scale, clipped to +-5, zero outside the brain.

    Its units mean something, so nothing is measured on the image. Non-finite voxels count as the centre.
    """
    centre, scale = _SCALES[modality]
    inside = np.nan_to_num(voxels[brain].astype(np.float32), nan=centre, posinf=centre, neginf=centre)
    out = np.zeros(voxels.shape, dtype=np.float32)
    out[brain] = np.clip((inside - centre) / scale, -LIMIT, LIMIT)
    return out
