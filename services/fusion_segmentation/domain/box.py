"""Windows of the canonical box and the way between its 2 mm and 1 mm grids.

Both grids share their outer edges, so a 2 mm voxel covers exactly eight 1 mm voxels and a 1 mm voxel centre lies a
quarter of a 2 mm voxel away from the nearest 2 mm centre. Arrays here are (x, y, z) in the box, RAS, C-order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.canonical import COARSE_SHAPE, FINE_CROP_SHAPE
from services.core.imaging.volume import Array

Triple = tuple[int, int, int]
Slices = tuple[slice, slice, slice]

CROP_COARSE: Triple = (FINE_CROP_SHAPE[0] // 2, FINE_CROP_SHAPE[1] // 2, FINE_CROP_SHAPE[2] // 2)


@dataclass(frozen=True, slots=True)
class Window:
    """A box of 2 mm voxels, `start` included and `stop` not; at 1 mm it has twice the numbers."""

    start: Triple
    stop: Triple

    @property
    def coarse(self) -> Slices:
        """Slices into a 2 mm array."""
        return _slices(self, 1)

    @property
    def fine(self) -> Slices:
        """Slices into a 1 mm array."""
        return _slices(self, 2)


def whole(shape: Triple = COARSE_SHAPE) -> Window:
    """The window that is the whole box."""
    return Window((0, 0, 0), shape)


def window_around(mask: NDArray[np.bool_], margin: int = 0) -> Window | None:
    """The smallest window around every true 2 mm voxel, grown by `margin` voxels inside the box; None without one."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        spans.append((max(int(hit[0]) - margin, 0), min(int(hit[-1]) + 1 + margin, mask.shape[axis])))
    (x0, x1), (y0, y1), (z0, z1) = spans
    return Window((x0, y0, z0), (x1, y1, z1))


def pooled(fine: Array) -> NDArray[np.float32]:
    """Mean over 2 x 2 x 2 voxels in float32: the 1 mm array on the 2 mm grid of the same box."""
    x = fine[0::2].astype(np.float32)
    x += fine[1::2]
    y = x[:, 0::2] + x[:, 1::2]
    z = y[:, :, 0::2] + y[:, :, 1::2]
    z *= np.float32(0.125)
    return z


def any_pooled(fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where any of the 2 x 2 x 2 voxels is: the 1 mm mask on the 2 mm grid of the same box."""
    x = fine[0::2] | fine[1::2]
    y = x[:, 0::2] | x[:, 1::2]
    return y[:, :, 0::2] | y[:, :, 1::2]


def upsampled(coarse: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Trilinear interpolation of a 2 mm field at the 1 mm centres inside the window; edges repeat outwards."""
    out: NDArray[np.float32] = coarse
    for axis in (2, 1, 0):  # the short axis first: strided writes then cost least
        out = _doubled(out, axis, window.start[axis], window.stop[axis])
    return out


def _doubled(field: NDArray[np.float32], axis: int, start: int, stop: int) -> NDArray[np.float32]:
    length = field.shape[axis]
    near = _take(field, axis, np.arange(start, stop))
    below = _take(field, axis, np.arange(start - 1, stop - 1).clip(0, length - 1))
    above = _take(field, axis, np.arange(start + 1, stop + 1).clip(0, length - 1))
    shape = list(near.shape)
    shape[axis] *= 2
    out = np.empty(shape, np.float32)
    near = near * np.float32(0.75)
    below *= np.float32(0.25)
    above *= np.float32(0.25)
    np.add(near, below, out=out[_at(axis, slice(0, None, 2))])
    np.add(near, above, out=out[_at(axis, slice(1, None, 2))])
    return out


def _take(field: NDArray[np.float32], axis: int, index: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.take(field, index, axis=axis)


def _at(axis: int, part: slice) -> tuple[Any, ...]:
    return (slice(None),) * axis + (part,)


def _slices(window: Window, factor: int) -> Slices:
    x, y, z = (slice(a * factor, b * factor) for a, b in zip(window.start, window.stop, strict=True))
    return x, y, z
