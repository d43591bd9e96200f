"""The brain mask: taken from images that were stripped before, else by a classical extraction at 2 mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.errors import Refused
from services.core.imaging.volume import Volume
from services.preprocessing.domain.series import Placed, Pulse

MASK_MM = 2.0
EDGE_VOXELS = 100
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
    """To come."""
    raise Refused("EMPTY_BRAIN", "x")


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
