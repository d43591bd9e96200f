"""Where the fine model looks: few 96 mm cubes that together hold what the coarse model found.

Works on the 2 mm grid, so every crop starts on an even 1 mm voxel. Each crop costs a call of the fine model: fewer win.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Array
from services.fusion_segmentation.domain.box import CROP_COARSE, Triple, Window, any_pooled, window_around


def crops_around(labels: NDArray[np.uint8], margin_mm: int, limit: int) -> tuple[Window, ...]:
    """Crops over a 1 mm mask of the box and `margin_mm` around it; without the margin where that covers more."""
    lesion = any_pooled(labels > 0)
    roomy = find_crops(_grown(lesion, margin_mm // 2), limit)
    if uncovered(lesion, roomy) == 0:
        return roomy
    tight = find_crops(lesion, limit)
    return tight if uncovered(lesion, tight) < uncovered(lesion, roomy) else roomy


def outside(labels: NDArray[np.uint8], crops: tuple[Window, ...]) -> int:
    """How many lesion voxels of a 1 mm mask lie in no crop."""
    left = labels > 0
    for crop in crops:
        left[crop.fine] = False
    return int(np.count_nonzero(left))


def find_crops(target: NDArray[np.bool_], limit: int) -> tuple[Window, ...]:
    """At most `limit` crops over the true voxels of a 2 mm mask of the box; overlaps are allowed.

    All are covered when the voxels' bounding box can be tiled with `limit` crops or when taking the fullest crop first
    gets there; else the crops cover as much as the second way finds.
    """
    greedy = _fullest_first(target, limit)
    if len(greedy) <= 1 and uncovered(target, greedy) == 0:
        return greedy
    tiles = _tiles(target)
    fewer = len(tiles) < len(greedy) or uncovered(target, greedy) > 0
    return tiles if fewer and len(tiles) <= limit else greedy


def uncovered(target: NDArray[np.bool_], crops: tuple[Window, ...]) -> int:
    """How many true voxels lie in no crop."""
    left = target.copy()
    for crop in crops:
        left[crop.coarse] = False
    return int(np.count_nonzero(left))


def _grown(mask: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    grown: Array = ndimage.maximum_filter(mask.view(np.uint8), size=2 * voxels + 1, mode="constant")
    return grown.view(np.bool_)


def _fullest_first(target: NDArray[np.bool_], limit: int) -> tuple[Window, ...]:
    left = target.copy()
    crops: list[Window] = []
    while len(crops) < limit and left.any():
        counts = _counts_per_crop(left)
        start = np.unravel_index(int(counts.argmax()), counts.shape)
        crop = _centred_on(left, _crop_at((int(start[0]), int(start[1]), int(start[2]))))
        left[crop.coarse] = False
        crops.append(crop)
    return tuple(crops)


def _counts_per_crop(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    counts = mask.astype(np.int32)
    for axis, edge in enumerate(CROP_COARSE):
        sums = np.cumsum(counts, axis=axis, dtype=np.int32)
        sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis=axis)), sums], axis=axis)
        last = sums.shape[axis]
        counts = np.take(sums, np.arange(edge, last), axis=axis) - np.take(sums, np.arange(last - edge), axis=axis)
    return counts


def _centred_on(mask: NDArray[np.bool_], crop: Window) -> Window:
    """The crop moved so that what it holds lies in its middle; it still holds all of that."""
    inside = np.zeros_like(mask)
    inside[crop.coarse] = mask[crop.coarse]
    held = window_around(inside)
    return crop if held is None else _crop_around(held, mask.shape)


def _crop_around(held: Window, shape: tuple[int, ...]) -> Window:
    starts = [
        min(max((a + b - edge) // 2, 0), n - edge)
        for a, b, edge, n in zip(held.start, held.stop, CROP_COARSE, shape, strict=True)
    ]
    return _crop_at((starts[0], starts[1], starts[2]))


def _tiles(target: NDArray[np.bool_]) -> tuple[Window, ...]:
    """The bounding box of the voxels, cut evenly into as few crops as it takes."""
    held = window_around(target)
    if held is None:
        return ()
    axes = []
    for a, b, edge, n in zip(held.start, held.stop, CROP_COARSE, target.shape, strict=True):
        count = -(-(b - a) // edge)
        first = min(max((a + b - edge) // 2, 0), n - edge) if count == 1 else a
        last = first if count == 1 else b - edge
        axes.append([first + (last - first) * i // max(count - 1, 1) for i in range(count)])
    tiles = tuple(_crop_at((x, y, z)) for x, y, z in product(*axes))
    return tuple(tile for tile in tiles if target[tile.coarse].any())


def _crop_at(start: Triple) -> Window:
    x, y, z = start
    return Window(start, (x + CROP_COARSE[0], y + CROP_COARSE[1], z + CROP_COARSE[2]))
