"""Orientation and resampling: nothing moves that should stay, and what moves comes back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from services.core.imaging.canonical import canonical_grid
from services.core.imaging.orientation import axis_codes, to_ras
from services.core.imaging.resample import resample, snapped
from services.core.imaging.volume import Affine, Grid, Volume
from tests.unit.imaging.images import oblique_affine, ramp, rotation

pytestmark = pytest.mark.unit


def volume(data: np.ndarray, affine: Affine) -> Volume:
    return Volume(data=data, affine=affine, modality="x", units="a.u.")


def blob(shape: tuple[int, int, int], affine: Affine, centre: tuple[float, float, float]) -> Volume:
    """A smooth bump of 8 mm around a point given in RAS mm."""
    index = np.indices(shape).reshape(3, -1)
    points = affine[:3, :3] @ index + affine[:3, 3:]
    squared = ((points - np.array(centre)[:, None]) ** 2).sum(axis=0)
    return volume(np.exp(-squared / (2 * 8.0**2)).reshape(shape).astype(np.float32), affine)


def peak(found: Volume) -> np.ndarray:
    """Centre of mass in RAS mm."""
    index = np.array(ndimage.center_of_mass(np.where(found.data > 0.3, found.data, 0)))
    place: np.ndarray = found.affine[:3, :3] @ index + found.affine[:3, 3]
    return place


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIR", "ALI"])
def test_turning_to_ras_keeps_every_voxel_in_its_place(codes: str) -> None:
    world = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        row, sign = world[code]
        affine[row, axis] = sign * (axis + 1.0)
    affine[:3, :3] = rotation(11.0) @ affine[:3, :3]
    affine[:3, 3] = (3.0, -5.0, 7.0)
    assert axis_codes(affine) == codes
    source = volume(ramp(), affine)
    turned = to_ras(source)
    assert axis_codes(turned.affine) == "RAS"
    for index in ((0, 0, 0), (10, 11, 12), (4, 7, 2)):
        place = affine @ np.append(index, 1.0)
        there = np.rint((np.linalg.inv(turned.affine) @ place)[:3]).astype(int)
        assert turned.data[tuple(there)] == source.data[index]


@pytest.mark.parametrize("degrees", [0.0, 8.0, 31.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 0.9, 1.2), (0.5, 0.5, 5.0)])
def test_native_to_canonical_and_back_stays_within_half_a_voxel(
    degrees: float, spacing: tuple[float, float, float]
) -> None:
    affine = oblique_affine(spacing, degrees)
    shape = (round(90 / spacing[0]), round(80 / spacing[1]), round(70 / spacing[2]))
    middle = affine[:3, :3] @ (np.array(shape) / 2) + affine[:3, 3]
    where = (middle[0] + 5.3, middle[1] - 4.1, middle[2] + 3.7)
    native = blob(shape, affine, where)
    there = resample(native, canonical_grid(middle))
    back = resample(there, native.grid)
    assert np.linalg.norm(peak(there) - where) < 0.5 * min(spacing) + 0.1
    assert np.linalg.norm(peak(back) - where) < 0.5 * min(spacing) + 0.1


def test_a_transform_moves_the_image_where_it_says() -> None:
    native = blob((60, 60, 60), np.eye(4), (30.0, 28.0, 26.0))
    turn = np.eye(4)
    turn[:3, :3] = rotation(20.0)
    turn[:3, 3] = (4.0, -7.0, 2.0)
    target = Grid(shape=(80, 80, 80), affine=np.array([[1, 0, 0, -10], [0, 1, 0, -10], [0, 0, 1, -10], [0, 0, 0, 1.0]]))
    moved = resample(native, target, turn)
    expected = np.linalg.inv(turn) @ np.array([30.0, 28.0, 26.0, 1.0])
    np.testing.assert_allclose(peak(moved), expected[:3], atol=0.1)


def test_the_snapped_box_copies_a_one_millimetre_reference() -> None:
    data = np.random.default_rng(3).random((60, 60, 60)).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = (40.3, 20.7, -11.2)
    native = volume(data, affine)
    grid = snapped(canonical_grid(np.array([10.0, -9.6, 18.1])), native.grid)
    box = resample(native, grid)
    assert set(np.unique(box.data)) <= {0.0, *np.unique(data)}
    np.testing.assert_allclose(np.sort(box.data[box.data > 0]), np.sort(data.ravel()))


def test_masks_keep_their_type_and_values() -> None:
    mask = volume((ramp() > 800).astype(np.uint8), oblique_affine())
    found = resample(mask, mask.grid, nearest=True)
    assert found.data.dtype == np.uint8
    np.testing.assert_array_equal(found.data, mask.data)


def test_a_coarser_grid_averages_instead_of_skipping() -> None:
    noise = volume(
        np.random.default_rng(5).normal(0, 1, (80, 80, 80)).astype(np.float32), np.eye(4) * [0.5, 0.5, 0.5, 1]
    )
    coarse = resample(noise, Grid(shape=(10, 10, 10), affine=np.diag([4.0, 4.0, 4.0, 1.0])))
    assert coarse.data[2:-2, 2:-2, 2:-2].std() < 0.25
