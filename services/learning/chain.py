"""From a 1 mm case to what each network sees, as in serving: 2 mm means for the coarse, 1 mm crops for the fine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.core.imaging.canonical import FINE_CROP_SHAPE

Corner = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A cube of the 1 mm box: images (1, 4, ...), evidence of the coarse network (1, 5, ...), labels (1, ...)."""

    image: Tensor
    evidence: Tensor
    labels: Tensor


def pooled(image: Tensor) -> Tensor:
    """Mean of every 2 x 2 x 2 voxels of (batch, slot, x, y, z): the 2 mm grid of the same box."""
    return functional.avg_pool3d(image, 2)


def raised(evidence: Tensor) -> Tensor:
    """2 mm evidence at the 1 mm voxel centres, trilinear, edges repeated."""
    return functional.interpolate(evidence, scale_factor=2.0, mode="trilinear", align_corners=False)


def cut(field: Tensor, corner: Corner, shape: tuple[int, int, int] = FINE_CROP_SHAPE) -> Tensor:
    """The crop that starts at `corner`, on the last three axes."""
    where = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
    return field[(..., *where)]


def random_corner(
    rng: np.random.Generator, mask: NDArray[np.bool_], crop: tuple[int, int, int] = FINE_CROP_SHAPE
) -> Corner:
    """A crop that holds a random voxel of the mask (anywhere, where it is empty); starts on even voxels."""
    found = np.flatnonzero(mask)
    shape = mask.shape
    if found.size == 0:
        point = np.array([rng.integers(n) for n in shape])
    else:
        point = np.array(np.unravel_index(int(found[rng.integers(found.size)]), shape))
    edges = np.array(crop)
    reach = int(edges.min()) // 3
    corner = point - edges // 2 + rng.integers(-reach, reach + 1, 3)
    even = np.clip(corner, 0, np.array(shape) - edges) // 2 * 2
    return int(even[0]), int(even[1]), int(even[2])


def detached(value: Tensor) -> Tensor:
    """As the server sends it: FP16 precision, no gradient."""
    return value.detach().to(torch.float16).to(torch.float32)
