"""The growth solver against what is known about the Fisher-KPP equation, and the mass effect."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from services.phantom.deformation import box_grid
from services.phantom.growth import VISIBLE_ON_FLAIR, GrowthLaw, advance, diffusivity, faces, grow, time_step
from services.phantom.mass_effect import push

pytestmark = pytest.mark.unit

LAW = GrowthLaw(diffusivity_white=0.3, white_over_grey=10.0, proliferation=0.012)


def _filled(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.ones(shape, dtype=np.float32)


def _front_mm(density: NDArray[np.float32], spacing_mm: float) -> float:
    profile = density[:, 0, 0]
    behind = int(np.flatnonzero(profile > 0.5)[-1])
    part = (profile[behind] - 0.5) / (profile[behind] - profile[behind + 1])
    return float((behind + part) * spacing_mm)


def test_the_front_in_white_matter_moves_at_two_root_d_rho() -> None:
    spacing, rod = 2.0, (420, 1, 1)
    white = _filled(rod)
    conduct = faces(diffusivity(LAW, white, white * 0))
    dt = time_step(LAW, spacing)
    density = np.zeros(rod, dtype=np.float32)
    density[:5] = 1.0
    positions, every = [], 250
    for step in range(2501):
        if step in (2500 - every, 2500):
            positions.append(_front_mm(density, spacing))
        advance(density, conduct, LAW.proliferation * dt, dt / spacing**2)
    speed = (positions[1] - positions[0]) / (every * dt)
    assert speed == pytest.approx(LAW.front_mm_per_day, rel=0.05)


def test_diffusion_alone_keeps_every_cell_and_none_enters_csf() -> None:
    shape = (24, 20, 16)
    white = _filled(shape)
    white[12:] = 0.0
    conduct = faces(diffusivity(LAW, white, white * 0))
    density = np.zeros(shape, dtype=np.float32)
    density[8:11, 8:12, 6:9] = 0.7
    before = float(density.sum(dtype=np.float64))
    for _ in range(60):
        advance(density, conduct, 0.0, time_step(LAW, 2.0) / 4.0)
    assert float(density.sum(dtype=np.float64)) == pytest.approx(before, rel=1e-4)
    assert not density[12:].any()
    assert density[11].max() > 0


def test_cells_only_become_more_and_never_exceed_one() -> None:
    shape = (21, 21, 21)
    conduct = faces(diffusivity(LAW, _filled(shape), _filled(shape) * 0))
    density = np.zeros(shape, dtype=np.float32)
    density[10, 10, 10] = 0.5
    dt = time_step(LAW, 2.0)
    masses = []
    for _ in range(80):
        advance(density, conduct, LAW.proliferation * dt, dt / 4.0)
        masses.append(float(density.sum(dtype=np.float64)))
    assert all(later > earlier for earlier, later in pairwise(masses))
    assert density.min() >= 0
    assert density.max() <= 1


def test_growth_stops_at_the_volume_that_was_asked_for() -> None:
    shape, spacing = (40, 40, 40), 2.0
    conductance = diffusivity(LAW, _filled(shape), _filled(shape) * 0)
    density = grow(conductance, (20, 20, 20), LAW, spacing, target_ml=30.0)
    visible_ml = np.count_nonzero(density > VISIBLE_ON_FLAIR) * spacing**3 / 1000
    assert 30.0 <= visible_ml <= 36.0


def test_grey_matter_slows_a_tumour_down() -> None:
    shape = (40, 21, 21)
    white = _filled(shape)
    white[20:] = 0.0
    conductance = diffusivity(LAW, white, 1 - white)
    density = grow(conductance, (19, 10, 10), LAW, 2.0, target_ml=20.0)
    assert density[:20].sum() > 1.5 * density[20:].sum()


def test_a_mass_pushes_outwards_without_folding_space() -> None:
    grid = box_grid((-60.0, -60.0, -60.0), (60.0, 60.0, 60.0), 4.0)
    axis = np.arange(grid.shape[0]) * 4.0 - 60.0
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    density = (radius < 18).astype(np.float32)
    brain = (radius < 56).astype(np.float32)
    moved = push(density, 0.1 * brain, brain, grid, largest_mm=10.0)
    assert moved.jacobian().min() > 0
    assert 5.0 < moved.largest_mm() <= 10.5
    at = np.array([[24.0], [0.0], [0.0]], dtype=np.float32)
    assert moved.at(at)[0, 0] < 24.0  # what is seen at 24 mm comes from nearer the centre
    far = np.array([[-60.0], [0.0], [0.0]], dtype=np.float32)
    assert abs(moved.at(far) - far).max() < 0.2
