"""The scanner chain: position, slice thickness, receive field, gain and Rician noise, as a series would show them.

Affines map voxel index to RAS mm of the scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from services.core.imaging.volume import Affine, Grid

LARGEST_STORED = 4095
"""12-bit stored values."""

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """How a series is received: stored value of white matter, SNR of white matter, strength of the receive field,
    exponent of the contrast curve, and motion from 0 (none) to 1.
    """

    white_value: float
    snr: float
    bias: float
    gamma: float = 1.0
    motion: float = 0.0


def rigid(rng: np.random.Generator, shift_mm: float, turn_deg: float) -> Affine:
    """A rotation by up to `turn_deg` about each axis and a shift by `shift_mm` in a random direction."""
    angles = rng.uniform(-turn_deg, turn_deg, 3) if turn_deg else np.zeros(3)
    direction = rng.standard_normal(3)
    moved: Affine = np.eye(4)
    moved[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    moved[:3, 3] = direction / np.linalg.norm(direction) * shift_mm
    return moved


def inverse_rigid(moved: Affine) -> Affine:
    """The way back."""
    back: Affine = np.eye(4)
    back[:3, :3] = moved[:3, :3].T
    back[:3, 3] = -moved[:3, :3].T @ moved[:3, 3]
    return back


def thick_grid(grid: Grid, slice_mm: float) -> Grid:
    """The same field of view in slices of another spacing along z."""
    spacing = grid.spacing[2]
    slices = max(1, int(grid.shape[2] * spacing // slice_mm))
    affine = grid.affine.copy()
    affine[:3, 2] *= slice_mm / spacing
    affine[:3, 3] += grid.affine[:3, 2] / spacing * (slice_mm - spacing) / 2
    return Grid(shape=(grid.shape[0], grid.shape[1], slices), affine=affine)


def resliced(values: Map, source: Grid, target: Grid, to_source: Affine) -> Map:
    """`values` seen on another grid; `to_source` maps RAS mm of the target to RAS mm of the source, rigidly.

    Slices thicker than the source's average over their thickness.
    """
    if target.same_as(source) and np.array_equal(to_source, np.eye(4)):
        return values
    ratio = target.spacing[2] / source.spacing[2]
    if ratio > 1.0:
        values = ndimage.convolve1d(values, _profile(ratio), axis=2, mode="nearest")
    index = np.linalg.inv(source.affine) @ to_source @ target.affine
    seen: Map = np.zeros(target.shape, dtype=np.float32)
    box = _shown(values, index, target.shape)
    if box is not None:
        start = np.array([part.start for part in box])
        seen[box] = ndimage.affine_transform(
            values, index[:3, :3], index[:3, :3] @ start + index[:3, 3],
            tuple(part.stop - part.start for part in box), output=np.float32, order=1, prefilter=False,
        )  # fmt: skip
    return seen


def _shown(values: Map, index: Affine, shape: tuple[int, int, int]) -> tuple[slice, slice, slice] | None:
    """Box of the target that can show what is not zero; `index` maps its voxels to those of `values`."""
    filled = [np.flatnonzero(values.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if any(part.size == 0 for part in filled):
        return None
    bounds = np.array([(part[0] - 1, part[-1] + 1) for part in filled], dtype=float)
    corners = np.stack(np.meshgrid(*bounds, indexing="ij")).reshape(3, 8)
    back = np.linalg.inv(index)
    there = back[:3, :3] @ corners + back[:3, 3:]
    start = np.clip(np.floor(there.min(axis=1)), 0, np.array(shape) - 1).astype(int)
    stop = np.clip(np.ceil(there.max(axis=1)) + 1, start + 1, shape).astype(int)
    x, y, z = (slice(int(low), int(high)) for low, high in zip(start, stop, strict=True))
    return x, y, z


def _profile(ratio: float) -> NDArray[np.float64]:
    """Rectangular slice profile `ratio` voxels wide, symmetric about the middle."""
    reach = int(np.ceil((ratio - 1) / 2))
    offset = np.arange(-reach, reach + 1)
    weight = np.clip(ratio / 2 + 0.5 - np.abs(offset), 0, 1)
    profile: NDArray[np.float64] = weight / weight.sum()
    return profile


def receive_field(rng: np.random.Generator, shape: tuple[int, int, int], strength: float) -> Map:
    """A smooth positive field, exp of a random quadratic with values up to about +-`strength`."""
    axes = [np.stack([np.ones(n), t := np.linspace(-1, 1, n), t * t - 1 / 3]) for n in shape]
    weight = rng.standard_normal((3, 3, 3))
    weight[0, 0, 0] = 0.0
    exponent = np.einsum("abc,ax,by,cz->xyz", weight, *axes, optimize=True).astype(np.float32)
    exponent *= np.float32(strength / np.abs(exponent).max())
    field: Map = np.ascontiguousarray(np.exp(exponent))
    return field


def moved(rng: np.random.Generator, signal: Map, motion: float) -> Map:
    """Motion during the scan, in k-space: blocks of phase-encoding lines (second axis) see the head elsewhere."""
    lines = signal.shape[1]
    spectrum = np.fft.fft(signal, axis=1)
    frequency = np.fft.fftfreq(lines).astype(np.float32)
    order = np.argsort(np.abs(frequency))[::-1]  # the middle of k-space last, and mostly spared
    phase = np.zeros(lines, dtype=np.float32)
    for _ in range(1 + round(3 * motion)):
        start = int(rng.integers(0, int(0.9 * lines)))
        length = int(rng.integers(2, max(3, int(0.25 * lines))))
        phase[order[start : start + length]] = rng.normal(0.0, 3.0 * motion)
    spectrum *= np.exp(-2j * np.pi * frequency * phase)[None, :, None]
    ghosted: Map = np.abs(np.fft.ifft(spectrum, axis=1)).astype(np.float32)
    return ghosted


def received(rng: np.random.Generator, signal: Map, white: float, how: Reception, mask: Map | None) -> Map:
    """Stored values 0 to 4095: receive field, gain and Rician noise; zero where `mask` is (near) zero."""
    if how.motion > 0.0:
        signal = moved(rng, signal, how.motion)
    field = receive_field(rng, _shape(signal), how.bias)
    inside = slice(None) if mask is None else np.flatnonzero(mask > 0.5)
    scaled = signal.reshape(-1)[inside] * np.float32(1.0 / max(white, 1e-6))
    if how.gamma != 1.0:
        scaled = np.maximum(scaled, 0.0) ** np.float32(how.gamma)
    scaled = scaled * field.reshape(-1)[inside]
    scaled *= np.float32(how.white_value)
    noise = np.float32(how.white_value / how.snr)
    pair = rng.standard_normal((2, scaled.size), dtype=np.float32) * noise
    values = np.rint(np.hypot(scaled + pair[0], pair[1]))
    stored: Map = np.zeros(signal.shape, dtype=np.float32)
    stored.reshape(-1)[inside] = np.clip(values, 0, LARGEST_STORED, out=values)
    return stored


def _shape(values: Map) -> tuple[int, int, int]:
    x, y, z = values.shape
    return x, y, z
