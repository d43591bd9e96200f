"""The brain mask: taken from images that were stripped before, else by a classical extraction at 2 mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.core.imaging.resample import resample
from services.core.imaging.volume import Grid, Volume
from services.preprocessing.domain.series import Placed, Pulse

MASK_MM = 2.0
SMALLEST_HEAD_MM = 60.0
EDGE_VOXELS = 100
_EROSIONS_MM = (4.0, 6.0, 8.0, 10.0)
_USUAL_ML = 1900.0
_LEAST_ML = 100.0
_BRAIN_ML = (500.0, 2300.0)
_STRIPPED_ZEROS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrainMask:
    """uint8 mask on some grid in the reference's space. `stripped`: the images were masked before they came.

    `cut_off`: the brain meets the edge of the reference's field of view.
    """

    mask: Volume
    stripped: bool
    cut_off: bool


def brain_mask(reference: Placed, others: Sequence[Placed], pulse: Pulse) -> BrainMask:
    """The mask of a study. Raises Refused (EMPTY_BRAIN) when the extraction finds no brain."""
    stripped = stripped_mask(reference.volume)
    pulse()
    return stripped if stripped is not None else extracted_mask(reference, others, pulse)


def stripped_mask(reference: Volume) -> BrainMask | None:
    """The mask of an image whose outside was set to zero: brain-sized, in one piece. None when it is a whole head."""
    inside = reference.data != 0
    if 1 - inside.mean() < _STRIPPED_ZEROS:
        return None
    body = _largest(inside)
    millilitres = body.sum() * reference.grid.voxel_ml
    if not _BRAIN_ML[0] <= millilitres <= _BRAIN_ML[1]:
        return None
    return BrainMask(mask=_as_mask(reference, _filled(body)), stripped=True, cut_off=_meets_edge(body))


def extracted_mask(reference: Placed, others: Sequence[Placed], pulse: Pulse) -> BrainMask:
    """Brain by level, shape and place, at 2 mm. Raises Refused (EMPTY_BRAIN) when no brain-like body is found.

    A voxel is tissue when two sequences (or the only one) are near the level of the deep brain there (bone and air are
    dark in all, fat is bright on T1); the largest body that survives an erosion inside an egg below the vertex is the
    brain. The erosion grows until nothing hangs on that does not belong to it.
    """
    grid = _upright(reference.volume.grid)
    levels = []
    for placed in (reference, *others):
        levels.append((placed.modality, resample(placed.volume, grid, placed.from_reference).data))
        pulse()
    head = _head(levels[0][1])
    egg = _egg(head)
    tissue = _tissue(levels, egg) & (egg < 1.0)
    pulse()
    depth = ndimage.distance_transform_edt(tissue) * MASK_MM
    brain = np.zeros_like(head)
    for radius_mm in _EROSIONS_MM:
        brain = _body(tissue, depth, egg, radius_mm)
        pulse()
        if brain.sum() * grid.voxel_ml <= _USUAL_ML and not _hangs(brain, egg):
            break
    if brain.sum() * grid.voxel_ml < _LEAST_ML:
        raise Refused("EMPTY_BRAIN", "no brain was found in the images", "Send series that show the whole head.")
    mask = Volume(
        data=brain.astype(np.uint8),
        affine=grid.affine,
        modality="brain_mask",
        units="1",
        provenance={"from": "extraction"},
    )
    return BrainMask(mask=mask, stripped=False, cut_off=_leaves(mask, reference.volume.grid))


def _upright(reference: Grid) -> Grid:
    """An axis-aligned 2 mm RAS grid that covers the reference's field of view."""
    last = np.array(reference.shape) - 1.0
    corners = np.array(np.meshgrid(*((0.0, edge) for edge in last), indexing="ij")).reshape(3, -1)
    points = reference.affine[:3, :3] @ corners + reference.affine[:3, 3:]
    low, high = points.min(axis=1), points.max(axis=1)
    x, y, z = (int(edge) + 1 for edge in np.floor((high - low) / MASK_MM))
    affine = np.diag([MASK_MM, MASK_MM, MASK_MM, 1.0])
    affine[:3, 3] = low
    return Grid(shape=(x, y, z), affine=affine)


def _head(level: NDArray[np.float32]) -> NDArray[np.bool_]:
    smooth = ndimage.gaussian_filter(level, 1.0)
    return _largest(ndimage.binary_opening(smooth > 0.15 * np.percentile(smooth, 98), iterations=2))


def _egg(head: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance from the middle of the upper head, 1 on an ellipsoid as wide and long as the head and 160 mm high."""
    planes = np.flatnonzero(head.sum(axis=(0, 1)) > EDGE_VOXELS)
    if len(planes) == 0:
        raise Refused("EMPTY_BRAIN", "no head was found in the images", "Send series that show the whole head.")
    top = int(planes[-1])
    upper = np.argwhere(head[:, :, max(0, top - 50) : max(1, top - 10)].any(axis=2))
    low, high = upper.min(axis=0), upper.max(axis=0)
    middle = np.array([*(low + high) / 2, top - 75 / MASK_MM])
    half = np.array([*np.maximum((high - low) / 2, 20), 80 / MASK_MM])
    axes = np.ogrid[tuple(slice(0, edge) for edge in head.shape)]
    squares = [((axis - m) / h) ** 2 for axis, m, h in zip(axes, middle, half, strict=True)]
    if (high - low).min() * MASK_MM < SMALLEST_HEAD_MM:
        raise Refused("EMPTY_BRAIN", "no head was found in the images", "Send series that show the whole head.")
    distance: NDArray[np.float32] = np.sqrt(squares[0] + squares[1] + squares[2]).astype(np.float32)
    return distance


def _tissue(levels: Sequence[tuple[Modality, NDArray[np.float32]]], egg: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two sequences (or the only one) are like the deep brain: above 0.45 of its level, on T1 below 1.7 of it."""
    votes = np.zeros(egg.shape, dtype=np.int8)
    for modality, level in levels:
        usual = float(np.median(level[egg < 0.4]))
        like = level > 0.45 * usual
        if modality in (Modality.T1N, Modality.T1C):
            like &= level < 1.7 * usual
        votes += like
    tissue: NDArray[np.bool_] = votes >= min(2, len(levels))
    return tissue


def _body(
    tissue: NDArray[np.bool_], depth: NDArray[np.float64], egg: NDArray[np.float32], radius_mm: float
) -> NDArray[np.bool_]:
    """The body with the most of the egg's middle after an erosion, grown back by as much, closed and filled."""
    labels, count = ndimage.label(depth > radius_mm)
    if count == 0:
        return np.zeros_like(tissue)
    sizes = np.bincount(labels[egg < 0.7], minlength=count + 1)
    sizes[0] = 0
    core = labels == int(np.argmax(sizes))
    grown = (ndimage.distance_transform_edt(~core) * MASK_MM <= radius_mm + 0.8 * MASK_MM) & tissue
    closed = ndimage.binary_closing(np.pad(grown, 4), iterations=3)[4:-4, 4:-4, 4:-4]
    return _filled(closed)


def _hangs(brain: NDArray[np.bool_], egg: NDArray[np.float32]) -> bool:
    """More than 3 percent of the body in the outermost shell of the egg: scalp or neck muscle hangs on it."""
    return float((brain & (egg > 0.95)).sum()) > 0.03 * float(brain.sum())


def _leaves(mask: Volume, reference: Grid) -> bool:
    """The mask reaches the first or last voxels of the reference's own grid, on more than a touch."""
    index = np.argwhere(mask.data > 0)
    points = mask.affine[:3, :3] @ index.T + mask.affine[:3, 3:]
    inverse = np.linalg.inv(reference.affine)
    places = inverse[:3, :3] @ points + inverse[:3, 3:]
    margin = (MASK_MM / np.array(reference.spacing))[:, None]
    last = np.array(reference.shape)[:, None] - 1
    touches = [*(places < margin).sum(axis=1), *(places > last - margin).sum(axis=1)]
    return max(int(touch) for touch in touches) > EDGE_VOXELS


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = labels == int(np.argmax(sizes))
    return largest


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes closed slice by slice: much faster than in 3-D, and a brain has no tunnels."""
    return np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(mask, 2, 0)], axis=2)


def _meets_edge(mask: NDArray[np.bool_]) -> bool:
    """More than a touch (100 voxels) on the first or last plane of an axis."""
    planes = (np.take(mask, index, axis) for axis in range(3) for index in (0, -1))
    return any(int(plane.sum()) > EDGE_VOXELS for plane in planes)


def _as_mask(like: Volume, mask: NDArray[np.bool_]) -> Volume:
    return Volume(
        data=mask.astype(np.uint8), affine=like.affine, modality="brain_mask", units="1", provenance={"from": "images"}
    )
