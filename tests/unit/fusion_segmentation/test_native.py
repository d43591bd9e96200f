"""From the canonical box to the native grid: exact against a plain reference, true to volume, safe at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from services.core.imaging.labels import volumes_ml
from services.core.imaging.volume import Affine, Grid, Volume
from services.fusion_segmentation.domain.native import to_native

pytestmark = pytest.mark.unit

EDGE = 40


def _mask(labels: NDArray[np.uint8]) -> Volume:
    affine = np.eye(4)
    affine[:3, 3] = [-20.0, -17.0, -13.0]
    return Volume(data=labels, affine=affine, modality="mask", units="label")


def _ball(radius_mm: float) -> NDArray[np.uint8]:
    """Nested shells: core, enhancing rim, oedema."""
    centre = (EDGE - 1) / 2
    distance = np.sqrt(((np.indices((EDGE, EDGE, EDGE)) - centre) ** 2).sum(axis=0))
    labels = np.zeros(distance.shape, np.uint8)
    labels[distance <= radius_mm] = 2
    labels[distance <= 0.7 * radius_mm] = 3
    labels[distance <= 0.5 * radius_mm] = 1
    return labels


def _around(mask: Volume, spacing: tuple[float, ...], turn: Rotation, flip: int) -> Grid:
    """A grid of the given spacing and direction that holds the whole mask."""
    columns = turn.as_matrix() * np.array(spacing)
    if flip >= 0:
        columns[:, flip] *= -1
    shape = tuple(int(np.ceil(75 / s)) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = columns
    middle = mask.affine @ np.array([(EDGE - 1) / 2] * 3 + [1.0])
    affine[:3, 3] = middle[:3] - columns @ ((np.array(shape) - 1) / 2)
    return Grid(shape=(shape[0], shape[1], shape[2]), affine=affine)


def _plain(mask: Volume, native: Grid) -> NDArray[np.int64]:
    to_mask: Affine = np.linalg.inv(mask.affine) @ native.affine
    weights = [
        ndimage.affine_transform(
            (mask.data == label).astype(np.float64),
            to_mask[:3, :3],
            to_mask[:3, 3],
            output_shape=native.shape,
            order=1,
            mode="grid-constant",
            cval=float(label == 0),
        )
        for label in range(5)
    ]
    winner: NDArray[np.int64] = np.round(np.stack(weights), 5).argmax(axis=0)
    return winner


grids = st.tuples(
    st.tuples(*[st.sampled_from([0.8, 1.0, 1.2, 2.5])] * 3),
    st.integers(0, 10_000).map(lambda seed: Rotation.random(random_state=seed)),
    st.integers(-1, 2),
)


@given(grid=grids, seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_every_label_is_interpolated_and_the_heaviest_wins(
    grid: tuple[tuple[float, ...], Rotation, int], seed: int
) -> None:
    mask = _mask(np.random.default_rng(seed).integers(0, 5, (EDGE, EDGE, EDGE), dtype=np.uint8))
    native = _around(mask, *grid)
    result, plain = to_native(mask, native).data, _plain(mask, native)
    assert (result != plain).mean() < 1e-4  # the two round differently where weights are equal


@given(grid=grids, radius=st.floats(9.0, 16.0))
@settings(max_examples=15, deadline=None)
def test_volumes_survive_any_native_grid(grid: tuple[tuple[float, ...], Rotation, int], radius: float) -> None:
    mask = _mask(_ball(radius))
    native = _around(mask, *grid)
    before = volumes_ml(mask.data, mask.grid)
    after = volumes_ml(to_native(mask, native).data, native)
    assert after["WT"] == pytest.approx(before["WT"], rel=0.06)
    assert after["TC"] == pytest.approx(before["TC"], rel=0.12)


def test_the_same_grid_gives_the_same_mask() -> None:
    mask = _mask(_ball(12.0))
    np.testing.assert_array_equal(to_native(mask, mask.grid).data, mask.data)


def test_a_flipped_grid_gives_the_flipped_mask() -> None:
    labels = _ball(12.0)
    labels[5:9, 3:5, 1:7] = 4
    mask = _mask(labels)
    affine = mask.affine @ np.diag([-1.0, 1.0, -1.0, 1.0])
    affine[:3, 3] = (mask.affine @ np.array([EDGE - 1, 0, EDGE - 1, 1.0]))[:3]
    native = Grid(shape=mask.grid.shape, affine=affine)
    np.testing.assert_array_equal(to_native(mask, native).data, labels[::-1, :, ::-1])


def test_a_lesion_outside_the_native_field_of_view_leaves_nothing() -> None:
    mask = _mask(_ball(8.0))
    affine = np.eye(4)
    affine[:3, 3] = [200.0, 0.0, 0.0]
    assert not to_native(mask, Grid(shape=(10, 10, 10), affine=affine)).data.any()


def test_no_lesion_stays_no_lesion() -> None:
    mask = _mask(np.zeros((EDGE, EDGE, EDGE), np.uint8))
    assert not to_native(mask, mask.grid).data.any()


def test_a_lesion_at_the_edge_of_the_box_ends_there() -> None:
    mask = _mask(np.full((EDGE, EDGE, EDGE), 3, np.uint8))
    native = _around(mask, (1.0, 1.0, 1.0), Rotation.identity(), -1)
    assert volumes_ml(to_native(mask, native).data, native)["ET"] == pytest.approx(EDGE**3 / 1000, rel=0.08)
