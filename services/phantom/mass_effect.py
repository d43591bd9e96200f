"""Mass effect: the tumour's growth pushes the brain aside, as an invertible map.

div v = excess of cells (c - 0.5)+ minus a sink in the CSF near by, so that the whole keeps its volume; v = grad phi by
a cosine transform; faded to nothing at the skull; integrated as a velocity, so the Jacobian stays positive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from services.core.imaging.volume import Grid
from services.phantom.deformation import Deformation, Field, integrate

SINK_REACH_MM = 40.0
SKULL_FADE_MM = 14.0

Map = NDArray[np.float32]


def push(density: Map, csf: Map, brain: Map, grid: Grid, largest_mm: float) -> Deformation:
    """Pull-back of the mass effect whose fastest point moves about `largest_mm`. All maps lie on `grid`."""
    source = np.clip(density - 0.5, 0, None)
    if largest_mm <= 0 or not source.any():
        return Deformation(grid=grid, displacement=np.zeros((3, *grid.shape), dtype=np.float32))
    spacing = grid.spacing[0]
    far = ndimage.distance_transform_edt(source <= 0) * spacing
    sink = csf * np.exp(-far / SINK_REACH_MM)
    sink *= source.sum() / max(float(sink.sum()), 1e-6)
    velocity = _gradient_of_potential(source - sink, spacing)
    depth = ndimage.distance_transform_edt(brain > 0.5) * spacing
    velocity *= np.clip(depth / SKULL_FADE_MM, 0, 1).astype(np.float32)
    longest = float(np.sqrt((velocity**2).sum(axis=0)).max())
    return integrate((-velocity * (largest_mm / max(longest, 1e-9))).astype(np.float32), grid)


def _gradient_of_potential(source: NDArray[np.float64], spacing: float) -> Field:
    """Grad phi with laplacian(phi) = source and no flow through the box (Neumann)."""
    spectrum = fft.dctn(source, type=2)
    rates = [2.0 * (np.cos(np.pi * np.arange(n) / n) - 1.0) / spacing**2 for n in source.shape]
    laplacian = rates[0][:, None, None] + rates[1][None, :, None] + rates[2][None, None, :]
    laplacian[0, 0, 0] = 1.0
    spectrum /= laplacian
    spectrum[0, 0, 0] = 0.0
    potential = fft.idctn(spectrum, type=2)
    field: Field = np.stack(np.gradient(potential, spacing)).astype(np.float32)
    return field
