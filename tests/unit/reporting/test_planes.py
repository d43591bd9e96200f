from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from services.core.imaging.volume import Affine, Volume
from services.reporting.domain.planes import Plane, Vector, frames_on, slice_order
from services.reporting.errors import OutputNotPossible

pytestmark = pytest.mark.unit

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TILT = 0.3


def tilted() -> Affine:
    """An oblique grid with three different spacings: no axis can be confused with another."""
    c, s = np.cos(TILT), np.sin(TILT)
    affine: Affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([1.0, 1.5, 4.0])
    affine[:3, 3] = (-20.0, 7.5, 31.0)
    return affine


def mask(affine: Affine, shape: tuple[int, int, int] = (5, 6, 7)) -> Volume:
    data = np.random.default_rng(1).integers(0, 5, shape).astype(np.uint8)
    return Volume(data=data, affine=affine, modality="mask", units="label")


def planes_of(volume: Volume, columns: int, rows: int, slices: int, flips: tuple[int, int, int]) -> list[Plane]:
    """Planes of a scanner that stores the same voxels with other axes: which axis runs along columns, rows, slices."""
    lps = LPS @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    start = np.array([0 if flips[axis] > 0 else volume.data.shape[axis] - 1 for axis in range(3)], dtype=float)

    def direction(axis: int) -> Vector:
        x, y, z = (flips[axis] * lps[:3, axis] / spacing[axis]).tolist()
        return x, y, z

    made = []
    for number in range(volume.data.shape[slices]):
        voxel = start.copy()
        voxel[slices] = number
        x, y, z = (lps @ [*voxel, 1])[:3].tolist()
        made.append(
            Plane(
                position=(x, y, z),
                along_row=direction(columns),
                along_column=direction(rows),
                spacing_mm=(float(spacing[rows]), float(spacing[columns])),
                shape=(volume.data.shape[rows], volume.data.shape[columns]),
            )
        )
    return made


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
def test_every_way_to_store_a_grid_gives_each_voxel_its_own_label(
    axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    volume = mask(tilted())
    columns, rows, slices = axes
    frames = frames_on(volume, planes_of(volume, columns, rows, slices, flips))
    expected = volume.data
    for axis in (columns, rows):
        if flips[axis] < 0:
            expected = np.flip(expected, axis)
    np.testing.assert_array_equal(frames, expected.transpose(slices, rows, columns))


def test_planes_may_come_in_any_order() -> None:
    volume = mask(tilted())
    planes = planes_of(volume, 0, 1, 2, (1, 1, 1))
    shuffled = [planes[i] for i in (3, 0, 6, 1, 5, 2, 4)]
    np.testing.assert_array_equal(frames_on(volume, shuffled), frames_on(volume, planes)[[3, 0, 6, 1, 5, 2, 4]])
    ordered = [shuffled[i] for i in slice_order(shuffled)]
    assert ordered in (planes, planes[::-1])


def test_a_missing_or_repeated_plane_is_refused() -> None:
    volume = mask(tilted())
    planes = planes_of(volume, 0, 1, 2, (1, 1, 1))
    for wrong in (planes[:-1], [*planes[:-1], planes[0]], [*planes, planes[0]]):
        with pytest.raises(OutputNotPossible) as caught:
            frames_on(volume, wrong)
        assert caught.value.code == "SEG_GEOMETRY_MISMATCH"


@pytest.mark.parametrize("shift", [0.4, 1.0, 40.0])
def test_a_mask_beside_the_planes_is_refused(shift: float) -> None:
    volume = mask(tilted())
    planes = planes_of(volume, 0, 1, 2, (1, 1, 1))
    moved = tilted()
    moved[:3, 3] += shift
    with pytest.raises(OutputNotPossible):
        frames_on(Volume(data=volume.data, affine=moved, modality="mask", units="label"), planes)


def test_a_rounded_header_is_accepted() -> None:
    volume = mask(tilted())
    planes = planes_of(volume, 0, 1, 2, (1, 1, 1))
    rounded = tilted().round(3)
    near = Volume(data=volume.data, affine=rounded, modality="mask", units="label")
    np.testing.assert_array_equal(frames_on(near, planes), frames_on(volume, planes))
