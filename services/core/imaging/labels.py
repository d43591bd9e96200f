"""Label schemas. The schema id travels with every mask; nobody infers a schema from the numbers.

`glioserve.labels.v1` is the BraTS-2024 set: 0 background, 1 NCR (necrotic core), 2 SNFH (surrounding non-enhancing
FLAIR hyperintensity), 3 ET (enhancing tissue), 4 RC (resection cavity). Regions: WT = 1+2+3, TC = 1+3, ET = 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.volume import Grid

LABEL_SCHEMA = "glioserve.labels.v1"


class Label(IntEnum):
    """Voxel values of a mask of this schema."""

    BACKGROUND = 0
    NCR = 1
    SNFH = 2
    ET = 3
    RC = 4


REGIONS: Mapping[str, tuple[Label, ...]] = MappingProxyType(
    {"WT": (Label.NCR, Label.SNFH, Label.ET), "TC": (Label.NCR, Label.ET), "ET": (Label.ET,)}
)


def region_mask(labels: NDArray[np.uint8], region: str) -> NDArray[np.bool_]:
    """Voxels of WT, TC or ET. Raises KeyError on another name."""
    return np.isin(labels, REGIONS[region])


def volumes_ml(labels: NDArray[np.uint8], grid: Grid) -> dict[str, float]:
    """Millilitres of each region (WT, TC, ET) and of each label but background, from voxel counts."""
    counts = np.bincount(labels.reshape(-1), minlength=len(Label))
    by_label = {label.name: float(counts[label] * grid.voxel_ml) for label in Label if label}
    by_region = {
        name: float(sum(counts[label] for label in members) * grid.voxel_ml) for name, members in REGIONS.items()
    }
    return {**by_label, **by_region}
