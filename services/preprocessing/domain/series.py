"""A series on its way through the preparation: found, then read, then placed on the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.core.contracts.enums import Modality
from services.core.contracts.manifest import Reason
from services.core.imaging.volume import Affine, Grid, Volume
from services.preprocessing.domain.traits import Extent

Pulse = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A series whose headers are sound. `modality` None: known and not used. `reason` says how it was identified.

    `load` reads the voxels (raises Refused). `space`: frame of reference, empty where there is none. `headers`: the
    pseudonymous header set, made on demand; None for NIfTI.
    """

    series: str
    modality: Modality | None
    reason: str
    grid: Grid
    extent: Extent
    slice_thickness_mm: float
    load: Callable[[Pulse], Volume]
    space: str = ""
    acquired_at: str = ""
    three_d: bool = False
    original: bool = True
    order: int = 0
    remarks: tuple[str, ...] = ()
    headers: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A series that could not be used at all, and why."""

    series: str
    modality: Modality | None
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """A series with its voxels and its place: RAS mm of the reference to RAS mm of the series (rigid)."""

    found: Found
    modality: Modality
    volume: Volume
    from_reference: Affine
    placing: str

    @property
    def to_reference(self) -> Affine:
        """RAS mm of the series to RAS mm of the reference."""
        inverse: Affine = np.linalg.inv(self.from_reference).astype(np.float64)
        return inverse
