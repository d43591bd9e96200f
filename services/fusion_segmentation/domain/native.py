"""A mask of the canonical box on the native grid of the reference sequence.

Each native voxel centre takes the label with the largest trilinear weight among its eight canonical neighbours (linear
interpolation of every label, then argmax; a tie goes to the lower label). That keeps surfaces smoother than nearest
neighbour. Only neighbourhoods with more than one label need the arithmetic; the others are looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.core.imaging.volume import Affine, Grid, Volume

_MIXED = np.uint8(255)
_SLAB_VOXELS = 1 << 20
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lesion:
    """The part of a mask that holds labels, two background voxels wider; `uniform` per cell of eight neighbours.

    `from_native` maps native voxel indices to voxel indices of `labels`.
    """

    labels: NDArray[np.uint8]
    uniform: NDArray[np.uint8]
    from_native: Affine


def to_native(mask: Volume, native: Grid) -> Volume:
    """Labels of `mask` (uint8, any grid) at the voxel centres of `native`; background outside the mask's own grid."""
    voxels = np.zeros(native.shape, np.uint8)
    lesion = _lesion(mask, native)
    if lesion is not None:
        for window in _slabs(_native_window(lesion, native.shape)):
            voxels[window] = _sampled(lesion, window)
    return Volume(
        data=voxels, affine=native.affine, modality=mask.modality, units=mask.units, provenance=mask.provenance
    )


def _lesion(mask: Volume, native: Grid) -> _Lesion | None:
    box = ndimage.find_objects(mask.data > 0, max_label=1)[0]
    if box is None:
        return None
    labels = np.pad(mask.data[box], 2)
    from_native = np.linalg.inv(mask.affine) @ native.affine
    from_native[:3, 3] += 2 - np.array([part.start for part in box])
    return _Lesion(labels=labels, uniform=_uniform(labels), from_native=from_native)


def _native_window(lesion: _Lesion, shape: tuple[int, int, int]) -> Slices | None:
    """The part of the native grid whose centres lie inside the lesion's array; None when there is none."""
    corners = np.array(list(product(*((0, edge - 1) for edge in lesion.labels.shape))), dtype=np.float64)
    to_native_index = np.linalg.inv(lesion.from_native)
    seen = corners @ to_native_index[:3, :3].T + to_native_index[:3, 3]
    low = np.maximum(np.ceil(seen.min(axis=0)), 0).astype(int)
    high = np.minimum(np.floor(seen.max(axis=0)) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def _slabs(window: Slices | None) -> list[Slices]:
    """The window cut along x, so that the coordinates of one slab stay small."""
    if window is None:
        return []
    x, y, z = window
    plane = (y.stop - y.start) * (z.stop - z.start)
    thick = max(1, _SLAB_VOXELS // plane)
    return [(slice(a, min(a + thick, x.stop)), y, z) for a in range(x.start, x.stop, thick)]


def _uniform(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Per cell of eight neighbours its only label, or `_MIXED`."""
    low, high = labels, labels
    for axis in range(3):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        low, high = np.minimum(low[first], low[second]), np.maximum(high[first], high[second])
    return np.where(low == high, low, _MIXED)


def _sampled(lesion: _Lesion, window: Slices) -> NDArray[np.uint8]:
    x, y, z = (np.arange(part.start, part.stop, dtype=np.float64) for part in window)
    cells, fractions = [], []
    inside: NDArray[np.bool_] | np.bool_ = np.True_
    for axis, edge in enumerate(lesion.uniform.shape):
        a, b, c, offset = lesion.from_native[axis]
        position = ((a * x + offset)[:, None] + b * y)[:, :, None] + c * z
        cell = np.floor(position)
        inside = inside & (cell >= 0) & (cell < edge)
        fractions.append((position - cell).astype(np.float32))
        cells.append(cell.clip(0, edge - 1).astype(np.int32))
    found: NDArray[np.uint8] = lesion.uniform[cells[0], cells[1], cells[2]]
    found[~inside] = Label.BACKGROUND
    mixed = np.nonzero(found == _MIXED)
    found[mixed] = _heaviest(lesion.labels, [c[mixed] for c in cells], [f[mixed] for f in fractions])
    return found


def _heaviest(
    labels: NDArray[np.uint8], cells: Sequence[NDArray[np.int32]], fractions: Sequence[NDArray[np.float32]]
) -> NDArray[np.uint8]:
    weights = np.zeros((len(Label), cells[0].size), np.float32)
    column = np.arange(cells[0].size)
    for corner in product((0, 1), repeat=3):
        weight: NDArray[np.float32] = np.ones(column.size, np.float32)
        for up, fraction in zip(corner, fractions, strict=True):
            weight *= fraction if up else np.float32(1) - fraction
        x, y, z = (cell + up for cell, up in zip(cells, corner, strict=True))
        weights[labels[x, y, z], column] += weight
    winner: NDArray[np.uint8] = weights.argmax(axis=0).astype(np.uint8)
    return winner
