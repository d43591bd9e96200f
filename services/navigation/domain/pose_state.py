"""What the pose process needs of a session: one mask with its geometry and moments, and what lies in the same box.

Moments are seconds of the machine's monotonic clock, which all its processes share: no step of the wall clock makes a
mask young again.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.labels import REGIONS, Label
from services.core.imaging.volume import Array
from services.navigation.domain.answers import Mask

FULL = 255
"""What stands for 1 in fields of uint8."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxField:
    """uint8 voxels (x, y, z), packed by zlib, that cover the same box as the mask at a spacing of their own."""

    shape: tuple[int, int, int]
    voxels_zlib: bytes

    @staticmethod
    def packed(voxels: NDArray[np.uint8]) -> BoxField:
        """Packs voxels."""
        x, y, z = voxels.shape
        return BoxField(shape=(x, y, z), voxels_zlib=zlib.compress(np.ascontiguousarray(voxels).tobytes(), 1))

    def voxels(self) -> NDArray[np.uint8]:
        """The voxels. Raises ValueError when they are not as many as the shape says."""
        return unpacked(self.voxels_zlib, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoseState:
    """A mask for poses. `arrived_at`: last chunk of its series, from which its age counts; `registered_at`: when that
    series was registered. Without `brain` nothing is known to be outside of it; without `tumour` (probability of WT,
    255 = 1) there is no infiltration.
    """

    mask: Mask
    series_digest: str
    arrived_at: float
    registered_at: float
    brain: BoxField | None = None
    tumour: BoxField | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surroundings:
    """What lies around a mask, in its box: the brain, and the probability of WT (255 = 1)."""

    brain: BoxField | None
    tumour: BoxField | None


def unpacked(packed: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """uint8 voxels (x, y, z). Raises ValueError when they are not as many as the shape says."""
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)


def tumour_probability(evidence: Array) -> NDArray[np.uint8]:
    """Expected probability of WT, 255 = 1, from Dirichlet evidence (label, x, y, z): sum of its alpha over all alpha,
    alpha = evidence + 1 (Sensoy et al., NeurIPS 2018).
    """
    alpha = np.maximum(evidence.astype(np.float32), 0.0) + np.float32(1)
    if alpha.shape[0] != len(Label):
        raise ValueError(f"evidence of {alpha.shape[0]} labels, not {len(Label)}")
    members = [int(label) for label in REGIONS["WT"]]
    share: NDArray[np.float32] = alpha[members].sum(axis=0) / alpha.sum(axis=0)
    return np.rint(share * FULL).astype(np.uint8)
