"""Fisher-KPP growth of a tumour cell density c in 0 to 1, stopped on volume.

dc/dt = div(D grad c) + rho c (1 - c), D = D_white * white + D_grey * grey, zero in CSF and outside. Explicit steps,
harmonic-mean face diffusivities (zero flux into voxels with D = 0), the logistic part solved exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VISIBLE_ON_FLAIR = 0.16
MOST_STEPS = 1500
_MARGIN = 6
_CHECK_EVERY = 4

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthLaw:
    """`diffusivity_white` in mm2/day, `white_over_grey` as ratio, `proliferation` in 1/day."""

    diffusivity_white: float
    white_over_grey: float
    proliferation: float

    @property
    def front_mm_per_day(self) -> float:
        """Speed of the front in white matter, 2 sqrt(D rho)."""
        return float(2.0 * np.sqrt(self.diffusivity_white * self.proliferation))


def diffusivity(law: GrowthLaw, white: Map, grey: Map) -> Map:
    """mm2/day per voxel; voxels that are mostly CSF or outside conduct nothing."""
    mixed: Map = (law.diffusivity_white * (white + grey / law.white_over_grey)).astype(np.float32)
    mixed[white + grey < 0.5] = 0.0
    return mixed


def faces(conductance: Map) -> tuple[Map, Map, Map]:
    """Harmonic means between neighbours along each axis; zero as soon as one side is zero."""
    result = []
    for axis in range(3):
        low = np.delete(conductance, -1, axis=axis)
        high = np.delete(conductance, 0, axis=axis)
        result.append((2.0 * low * high / np.maximum(low + high, np.float32(1e-12))).astype(np.float32))
    return result[0], result[1], result[2]


def time_step(law: GrowthLaw, spacing_mm: float) -> float:
    """Days: nine tenths of the explicit limit h2 / (6 D)."""
    return float(0.9 * spacing_mm**2 / (6.0 * law.diffusivity_white))


def advance(density: Map, conduct: tuple[Map, Map, Map], growth: float, factor: float) -> None:
    """One step in place: diffusion with `factor` = dt / h2, then the logistic law with `growth` = rho dt."""
    change = np.zeros_like(density)
    for axis, face in enumerate(conduct):
        flux = np.diff(density, axis=axis)
        flux *= face
        flux *= np.float32(factor)
        inner: list[slice] = [slice(None)] * 3
        inner[axis] = slice(None, -1)
        change[tuple(inner)] += flux
        inner[axis] = slice(1, None)
        change[tuple(inner)] -= flux
    density += change
    decay = np.float32(np.exp(-growth))
    np.divide(density, density + (1.0 - density) * decay, out=density)


def grow(conductance: Map, seed: tuple[int, int, int], law: GrowthLaw, spacing_mm: float, target_ml: float) -> Map:
    """Density when the FLAIR-visible part (c > 0.16) first reaches `target_ml`, or can grow no further.

    The seed voxel must conduct. Computes only where cells are: the window follows the tumour.
    """
    density = np.zeros_like(conductance)
    density[seed] = 0.8
    dt = time_step(law, spacing_mm)
    voxels = target_ml * 1000.0 / spacing_mm**3
    window = _window(density, (slice(0, None), slice(0, None), slice(0, None)))
    for _ in range(0, MOST_STEPS, _CHECK_EVERY):
        window = _window(density, window)
        part = np.ascontiguousarray(density[window])
        conduct = faces(conductance[window])
        for _ in range(_CHECK_EVERY):
            advance(part, conduct, law.proliferation * dt, dt / spacing_mm**2)
        density[window] = part
        if np.count_nonzero(part > VISIBLE_ON_FLAIR) >= voxels:
            break
    return density


def _window(density: Map, within: tuple[slice, slice, slice]) -> tuple[slice, slice, slice]:
    """Bounding box of what holds cells, all `within`, with a margin wider than the steps until the next look."""
    bounds = []
    part = density[within]
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(part.max(axis=others) > 1e-7) + within[axis].start
        bounds.append(slice(max(0, int(filled[0]) - _MARGIN), min(density.shape[axis], int(filled[-1]) + _MARGIN + 1)))
    return bounds[0], bounds[1], bounds[2]
