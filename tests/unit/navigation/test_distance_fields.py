"""Distance fields against spheres and boxes, whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.navigation.domain.fields import NEAR_MM, distance_levels

pytestmark = pytest.mark.unit

SHAPE = (100, 110, 96)
CENTRE = np.array([43.2, 61.7, 50.4])


def radius(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float64]:
    away = [np.arange(n) - c for n, c in zip(shape, CENTRE, strict=True)]
    found: NDArray[np.float64] = np.sqrt(sum(part**2 for part in np.ix_(*away)))
    return found


def test_near_a_sphere_the_distance_is_right_to_most_of_a_voxel_and_negative_inside() -> None:
    near, _ = distance_levels(radius() < 20, 1.0)
    i, j, k = near.corner
    x, y, z = near.values.shape
    truth = radius()[i : i + x, j : j + y, k : k + z] - 20
    error = near.values.astype(float) - truth
    assert np.abs(error).max() < 0.8
    assert abs(error.mean()) < 0.4
    assert (near.values[truth < -1] < 0).all()
    assert (near.values[truth > 1] > 0).all()


def test_the_near_field_reaches_as_far_as_it_says() -> None:
    inside = radius() < 20
    near, _ = distance_levels(inside, 1.0)
    for axis in range(3):
        line = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        assert near.corner[axis] == line[0] - NEAR_MM
        assert near.values.shape[axis] == line[-1] - line[0] + 1 + 2 * NEAR_MM


def test_far_away_the_distance_is_right_to_one_millimetre() -> None:
    _, far = distance_levels(radius() < 20, 1.0)
    assert far.factor == 2
    x, y, z = (n // 2 for n in SHAPE)
    truth = radius().reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5)) - 20
    away = truth > NEAR_MM
    assert np.abs(far.values.astype(float) - truth)[away].max() < 1.2


def test_a_flat_surface_lies_between_two_voxels_and_the_edge_of_the_box_is_none() -> None:
    region = np.zeros((12, 12, 12), np.bool_)
    region[:6] = True
    (level,) = distance_levels(region, 2.0)
    assert level.values[:, 5, 5].tolist() == [-11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11]


def test_one_voxel_is_measured_and_a_region_without_a_surface_has_no_field() -> None:
    one = np.zeros((100, 100, 100), np.bool_)
    one[3, 50, 99] = True
    near, far = distance_levels(one, 1.0)
    assert near.values[tuple(np.array([3, 50, 99]) - near.corner)] == -0.5
    assert np.isfinite(far.values).all()
    assert far.values.min() < 0
    assert distance_levels(np.zeros((8, 8, 8), np.bool_), 1.0) == ()
    assert distance_levels(np.ones((8, 8, 8), np.bool_), 1.0) == ()


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=30))
def test_the_distance_is_that_to_the_nearest_voxel_less_half_of_one(places: list[tuple[int, int, int]]) -> None:
    region = np.zeros((10, 10, 10), np.bool_)
    for place in places:
        region[place] = True
    (level,) = distance_levels(region, 1.0)
    inside, outside = np.argwhere(region), np.argwhere(~region)
    for place in outside[::37]:
        nearest = np.linalg.norm(inside - place, axis=1).min()
        assert level.values[tuple(place)] == pytest.approx(nearest - 0.5, abs=0.01)
