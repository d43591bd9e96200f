"""The prepared study as the network takes it: slots in fixed order, availability, quality, all in the canonical box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.contracts.errors import Permanent
from services.core.contracts.facts import PrepareFacts
from services.core.imaging.canonical import BOX_MM, COARSE_SHAPE, FINE_CROP_SHAPE
from services.core.imaging.volume import Array, Grid, Volume
from services.fusion_segmentation.domain.box import Window, pooled

SLOTS = tuple(Modality)
USUAL_QUALITY = (3.0, 0.1, 1.0)
"""Log SNR, motion and slice thickness (mm) for what was not measured: neutral for the gates, as in training."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedStudy:
    """Volumes (float16, 1 mm, z-score in brain) and the brain on one canonical grid, with what preparation stated."""

    facts: PrepareFacts
    grid: Grid
    brain: NDArray[np.bool_]
    volumes: Mapping[Modality, Volume]

    @property
    def used(self) -> tuple[Modality, ...]:
        """Sequences that exist, in slot order."""
        return tuple(slot for slot in SLOTS if slot in self.volumes)

    @property
    def structural(self) -> tuple[Modality, ...]:
        """Those of the four that the fine model sees."""
        return tuple(slot for slot in STRUCTURAL if slot in self.volumes)

    @property
    def native(self) -> Grid:
        """The grid of the reference sequence as it was acquired."""
        x, y, z = self.facts.native_shape
        return Grid(shape=(x, y, z), affine=np.array(self.facts.native_affine, np.float64))


def assembled(facts: PrepareFacts, brain: Volume, volumes: Mapping[Modality, Volume]) -> PreparedStudy:
    """The study, when all parts lie on the canonical grid that preparation stated. Raises Permanent otherwise."""
    grid = Grid(shape=BOX_MM, affine=np.array(facts.canonical_affine, np.float64))
    for name, volume in {"the brain mask": brain, **{f"volume {slot}": v for slot, v in volumes.items()}}.items():
        if volume.data.shape != grid.shape or not volume.grid.same_as(grid):
            raise Permanent("NOT_CANONICAL", f"{name} does not lie on the canonical grid of its preparation")
    return PreparedStudy(facts=facts, grid=grid, brain=brain.data > 0, volumes=volumes)


def coarse_inputs(study: PreparedStudy) -> dict[str, Array]:
    """Inputs of `fusion_coarse`. A missing sequence is zeros, in image and quality."""
    image = np.zeros((1, len(SLOTS), *COARSE_SHAPE), np.float16)
    for index, slot in enumerate(SLOTS):
        if slot in study.volumes:
            image[0, index] = pooled(study.volumes[slot].data)
    return {"image": image, "available": _availability(study, SLOTS), "quality": _quality(study)}


def fine_inputs(study: PreparedStudy, window: Window, coarse: NDArray[np.float16]) -> dict[str, Array]:
    """Inputs of `fusion_fine` for one window; `coarse` is the evidence (class, x, y, z) interpolated in it."""
    image = np.zeros((1, len(STRUCTURAL), *FINE_CROP_SHAPE), np.float16)
    for index, slot in enumerate(STRUCTURAL):
        if slot in study.volumes:
            image[0, index] = study.volumes[slot].data[window.fine]
    return {"image": image, "available": _availability(study, STRUCTURAL), "coarse": coarse[np.newaxis]}


def _availability(study: PreparedStudy, slots: tuple[Modality, ...]) -> NDArray[np.float32]:
    return np.array([[slot in study.volumes for slot in slots]], np.float32)


def _quality(study: PreparedStudy) -> NDArray[np.float32]:
    """Per slot log SNR, motion (0 to 1) and slice thickness (mm), as in the tensor contract."""
    quality = _availability(study, SLOTS)[..., np.newaxis] * np.array(USUAL_QUALITY, np.float32)
    for series in study.facts.series:
        if series.used and series.modality in study.volumes:
            measured = (series.log_snr, series.motion, series.slice_thickness_mm)
            for column, value in enumerate(measured):
                if value is not None:
                    quality[0, SLOTS.index(series.modality), column] = value
    return quality
