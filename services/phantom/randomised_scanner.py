"""What scanner and preparation do to a randomised case: resolution, bias, noise, misplacement, imperfect masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.phantom.randomised_fields import Field, smooth_noise

BASE, GAIN = 100.0, 26.0  # z-score to positive intensity, so that bias, gamma and Rician noise mean something


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """How a sequence was taken; the three numbers of the quality vector follow from it."""

    log_snr: float
    motion: float
    thickness_mm: float


def acquire(
    rng: np.random.Generator, image: Field, brain: NDArray[np.bool_], spacing_mm: float
) -> tuple[Field, Acquisition]:
    """Scanned version of a z-score image: displaced, thick-sliced or blurred, biased, noisy."""
    if rng.random() < 0.3:
        image = _displaced(rng, image, spacing_mm)
    thickness = spacing_mm
    if rng.random() < 0.25:
        thickness = float(rng.uniform(3.0, 6.5))
        image = _thick_slices(image, thickness / spacing_mm, axis=int(rng.choice(3, p=(0.15, 0.15, 0.7))))
    if rng.random() < 0.5:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.6) / spacing_mm, truncate=2.5)
    motion = float(rng.uniform(0.0, 0.25)) if rng.random() < 0.75 else float(rng.uniform(0.25, 0.8))
    if motion > 0.25:
        image = _ghosted(rng, image, motion, spacing_mm)
    signal = np.clip(BASE + GAIN * image, 0.0, None)
    signal = BASE * (signal / BASE) ** np.float32(rng.uniform(0.8, 1.25))
    shape = image.shape
    strength = rng.uniform(0.0, 0.05) if rng.random() < 0.75 else rng.uniform(0.05, 0.15)
    signal = signal * np.exp(np.float32(strength) * smooth_noise(rng, shape, 70.0 / spacing_mm))
    sigma = float(np.exp(rng.uniform(np.log(0.8), np.log(9.0))))
    one = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)
    other = np.roll(one, shape[0] // 2 + 3, axis=0)  # far enough away to be independent, at half the cost
    scanned: Field = np.sqrt((signal + one) ** 2 + other**2)
    mean = float(signal[brain].mean()) if brain.any() else BASE
    return scanned, Acquisition(log_snr=float(np.log(mean / sigma)), motion=motion, thickness_mm=thickness)


def _displaced(rng: np.random.Generator, image: Field, spacing_mm: float) -> Field:
    """Rigid misregistration of up to 2 mm, by linear interpolation along each axis."""
    shift = rng.normal(0.0, 0.8, 3).clip(-2.0, 2.0) / spacing_mm
    for axis, amount in enumerate(shift):
        whole = int(np.floor(amount))
        part = np.float32(amount - whole)
        image = (1 - part) * np.roll(image, whole, axis) + part * np.roll(image, whole + 1, axis)
    return image


def _thick_slices(image: Field, voxels: float, axis: int) -> Field:
    """Averages over a slab and interpolates back, as a thick-sliced series looks after resampling."""
    n = image.shape[axis]
    count = max(round(n / voxels), 2)
    edges = np.linspace(0, n, count + 1)
    at = np.arange(n)
    weight = np.clip(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0.0, 1.0)
    weight /= weight.sum(axis=1, keepdims=True)
    centres = (edges[:-1] + edges[1:]) / 2 - 0.5
    back = np.maximum(0.0, 1 - np.abs(at[:, None] - centres[None, :]) / voxels)
    back[at < centres[0], 0] = 1.0
    back[at > centres[-1], -1] = 1.0
    back /= back.sum(axis=1, keepdims=True)
    both = (back @ weight).astype(np.float32)
    out: Field = np.ascontiguousarray(np.moveaxis(np.tensordot(both, image, axes=(1, axis)), 0, axis))
    return out


def _ghosted(rng: np.random.Generator, image: Field, motion: float, spacing_mm: float) -> Field:
    """Blur along one axis and a faint shifted copy."""
    axis = int(rng.integers(2))
    width = max(round(motion * 8.0 / spacing_mm), 1)
    blurred = ndimage.uniform_filter1d(image, width, axis=axis)
    ghost = np.roll(image, int(rng.integers(8, 30)), axis=axis)
    level = np.float32(0.12 * motion)
    out: Field = (1 - level) * blurred + level * ghost
    return out
