"""How good a series is, in the three numbers that the fusion model weighs it by: log SNR, motion, slice thickness.

Measured on the native voxels inside the brain, so that neither the air (often cut out) nor resampling matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.resample import index_map
from services.core.imaging.volume import Affine, Volume

SAMPLED_SLICES = 24
MAX_LOG_SNR = 6.0
FULL_MOTION = 0.9
"""Log ratio between the in-plane axes that counts as motion 1: about a blur of 8 mm along one of them."""
_QUIET = 0.2
"""Log ratio that anatomy and unequal in-plane resolution show without motion."""
_IMMERKAER = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """`log_snr`: natural logarithm of mean over noise in the brain. `motion`: 0 none to 1. `slice_thickness_mm`."""

    log_snr: float
    motion: float
    slice_thickness_mm: float


def measure(volume: Volume, brain: Volume, to_brain: Affine, slice_thickness_mm: float) -> Quality | None:
    """Quality of a native volume; None when the brain mask hardly meets it.

    `to_brain` maps RAS mm of the volume to RAS mm of the mask. Noise: median absolute response to the difference of
    two Laplacians (Immerkaer 1996, made robust). Motion: blur along one in-plane axis more than along the other.
    """
    spacing = np.array(volume.grid.spacing)
    axis = int(np.flatnonzero(spacing >= spacing.max() - 0.05)[-1])  # among equals the last: files stack slices there
    planes = _planes(volume, brain, to_brain, axis)
    if planes is None:
        return None
    image, inside = planes
    mean = float(image[inside].mean())
    response = ndimage.convolve(image, _IMMERKAER[None], mode="nearest")
    sigma = float(np.median(np.abs(response[inside]))) / 0.6745 / 6.0
    log_snr = np.log(mean / sigma) if mean > 0 and sigma > 0 else MAX_LOG_SNR if mean > 0 else 0.0
    return Quality(
        log_snr=float(np.clip(log_snr, 0.0, MAX_LOG_SNR)),
        motion=_motion(image, inside, np.delete(spacing, axis), sigma),
        slice_thickness_mm=slice_thickness_mm,
    )


def _planes(
    volume: Volume, brain: Volume, to_brain: Affine, axis: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """About 24 slices (slice, a, b) of the volume through the brain, and where they are inside it, edges left out."""
    count = volume.data.shape[axis]
    step = max(1, count // (2 * SAMPLED_SLICES))
    chosen = np.arange(step // 2, count, step)
    mask = _mask_on(volume, brain, to_brain, axis, chosen)
    areas = mask.sum(axis=(1, 2))
    if areas.max(initial=0) < 200:
        return None
    kept = np.flatnonzero(areas > 0.3 * areas.max())[
        :: max(1, int((areas > 0.3 * areas.max()).sum()) // SAMPLED_SLICES)
    ]
    image = np.moveaxis(np.take(volume.data, chosen[kept], axis=axis), axis, 0).astype(np.float32)
    inside = ndimage.binary_erosion(mask[kept], np.ones((1, 3, 3), dtype=bool), iterations=3) & (image != 0)
    return (image, inside) if inside.sum() > 500 else None


def _mask_on(volume: Volume, brain: Volume, to_brain: Affine, axis: int, chosen: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The brain mask on chosen slices of the volume, nearest neighbour: (slice, a, b)."""
    mapping = index_map(brain, volume.grid, to_brain)
    order = [axis, *(other for other in range(3) if other != axis)]
    steps = mapping[:3, order]
    shape = (1, *(volume.data.shape[other] for other in order[1:]))
    data = (brain.data > 0).astype(np.uint8)
    slices = [
        ndimage.affine_transform(
            data, steps, offset=mapping[:3, 3] + steps[:, 0] * number, output_shape=shape, order=0, mode="constant"
        )[0]
        for number in chosen
    ]
    return np.stack(slices) > 0


def _motion(image: NDArray[np.float32], inside: NDArray[np.bool_], spacing: NDArray[np.float64], noise: float) -> float:
    """Fine against coarse structure along both in-plane axes: motion smears the fine one along phase encoding."""
    shares = []
    for axis in (1, 2):
        edge = float(spacing[axis - 1])
        fine, coarse = (_difference(image, inside, axis, max(1, round(mm / edge)), noise) for mm in (2.0, 10.0))
        if fine <= 0 or coarse <= 0:
            return 0.0
        shares.append(np.log(fine / coarse))
    return float(np.clip((abs(shares[0] - shares[1]) - _QUIET) / (FULL_MOTION - _QUIET), 0.0, 1.0))


def _difference(image: NDArray[np.float32], inside: NDArray[np.bool_], axis: int, lag: int, noise: float) -> float:
    """Mean squared difference of voxels `lag` apart along an axis, both in the brain, less what noise contributes."""
    both = inside & np.roll(inside, -lag, axis)
    squares = np.square(np.roll(image, -lag, axis) - image)[both]
    return float(squares.mean()) - 2 * noise**2 if squares.size else 0.0
