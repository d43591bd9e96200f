"""Slices for the reader: three planes through the tumour's centre, in radiological convention.

Canonical volumes are axis-aligned RAS, index growing to the patient's right, front and top. On the picture the
patient's right is on the left, the front is up (axial) or on the left (sagittal), the head is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Permanent
from services.core.imaging.labels import Label
from services.core.imaging.volume import Array, Volume

WINDOW_PERCENTILES = (1.0, 99.5)
_AXES = {"Sagittal": 0, "Coronal": 1, "Axial": 2}
_DIRECTIONS = {"Sagittal": ("L", "R"), "Coronal": ("P", "A"), "Axial": ("I", "S")}
_SIDES = {"Sagittal": ("A", "P"), "Coronal": ("R", "L"), "Axial": ("R", "L")}
PREFERRED = (Modality.T1C, Modality.T2F, Modality.T1N, Modality.T2W)
MAX_ROWS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyImage:
    """One slice as it is shown: row 0 is the top. `grey` 0 to 255, `labels` on the same pixels, `pixel_mm` square.

    `sides` are the letters for the left and the right edge of the picture; `position` says where the slice lies.
    """

    modality: Modality | str
    plane: str
    position: str
    sides: tuple[str, str]
    grey: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    pixel_mm: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Canonical volumes of one study: sequences, the brain and the labels on one grid."""

    sequences: tuple[Volume, ...]
    brain: Volume
    mask: Volume


def key_images(prepared: Prepared, centroid_ras_mm: Sequence[float] | None) -> tuple[tuple[KeyImage, ...], ...]:
    """Rows of (axial, coronal, sagittal), one row per sequence, at most two: t1c and t2f where they exist.

    Raises Permanent when the volumes do not share one axis-aligned RAS grid.
    """
    for volume in (*prepared.sequences, prepared.brain):
        if not volume.grid.same_as(prepared.mask.grid):
            raise Permanent("GRIDS_DIFFER", f"canonical {volume.modality} lies on another grid than the mask")
    _check_canonical(prepared.mask)
    centre = _centre(prepared, centroid_ras_mm)
    shown = sorted(prepared.sequences, key=_rank)[:MAX_ROWS]
    return tuple(
        tuple(_slice(volume, prepared, plane, centre) for plane in ("Axial", "Coronal", "Sagittal")) for volume in shown
    )


def _rank(volume: Volume) -> int:
    return PREFERRED.index(volume.modality) if volume.modality in PREFERRED else len(PREFERRED)


def _check_canonical(volume: Volume) -> None:
    directions = volume.affine[:3, :3]
    spacing = np.diag(directions)
    if spacing.min() <= 0 or np.ptp(spacing) > 1e-6 or np.abs(directions - np.diag(spacing)).max() > 1e-6:
        raise Permanent("NOT_CANONICAL", "the canonical volumes are not axis-aligned RAS with cubic voxels")


def _centre(prepared: Prepared, centroid_ras_mm: Sequence[float] | None) -> tuple[int, int, int]:
    """Voxel through which the three planes run. A plane that misses the tumour moves to where most of it lies."""
    tumour = np.isin(prepared.mask.data, (Label.NCR, Label.SNFH, Label.ET))
    seen = tumour if tumour.any() else prepared.brain.data > 0
    if centroid_ras_mm is None or not tumour.any():
        filled = np.argwhere(seen)
        index = filled.mean(axis=0) if len(filled) else (np.array(seen.shape) - 1) / 2
    else:
        index = (np.linalg.inv(prepared.mask.affine) @ np.array([*centroid_ras_mm, 1.0]))[:3]
    rounded = np.clip(np.rint(index).astype(int), 0, np.array(seen.shape) - 1)
    for axis in range(3):
        profile = seen.sum(axis=tuple(other for other in range(3) if other != axis))
        if profile.any() and profile[rounded[axis]] == 0:
            rounded[axis] = int(profile.argmax())
    x, y, z = (int(value) for value in rounded)
    return x, y, z


def _slice(volume: Volume, prepared: Prepared, plane: str, centre: tuple[int, int, int]) -> KeyImage:
    axis = _AXES[plane]
    low, high = _window(volume, prepared.brain)
    shown = _oriented(volume.data, axis, centre[axis]).astype(np.float32)
    grey = np.clip((shown - low) / max(high - low, 1e-6), 0, 1) * 255
    grey[_oriented(prepared.brain.data, axis, centre[axis]) == 0] = 0  # standardised volumes hold no picture there
    millimetres = float(volume.affine[axis, axis] * centre[axis] + volume.affine[axis, 3])
    letter = _DIRECTIONS[plane][int(millimetres >= 0)]
    return KeyImage(
        modality=volume.modality,
        plane=plane,
        position=f"{letter} {abs(millimetres):.0f} mm",
        sides=_SIDES[plane],
        grey=np.rint(grey).astype(np.uint8),
        labels=_oriented(prepared.mask.data, axis, centre[axis]).astype(np.uint8),
        pixel_mm=float(volume.affine[0, 0]),
    )


def _oriented(data: Array, axis: int, index: int) -> Array:
    """A slice with the second remaining axis upwards and the first leftwards: right, or front, on the left."""
    shown: Array = np.take(data, index, axis=axis).T[::-1, ::-1]
    return shown


def _window(volume: Volume, brain: Volume) -> tuple[float, float]:
    inside = volume.data[brain.data > 0]
    values = (inside if inside.size else volume.data.reshape(-1)).astype(np.float32)
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    return float(low), float(high)
