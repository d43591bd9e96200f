"""The two grids of the box: pooling and interpolation against plain references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from services.core.imaging.volume import Array
from services.fusion_segmentation.domain.box import Window, any_pooled, pooled, upsampled, whole, window_around

pytestmark = pytest.mark.unit

edges = st.integers(min_value=2, max_value=7)


def _field(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


@given(x=edges, y=edges, z=edges, seed=st.integers(0, 2**32 - 1))
def test_pooling_is_the_mean_of_eight_voxels(x: int, y: int, z: int, seed: int) -> None:
    fine = _field((2 * x, 2 * y, 2 * z), seed).astype(np.float16)
    plain = fine.astype(np.float64).reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(pooled(fine), plain, atol=1e-5)
    np.testing.assert_array_equal(any_pooled(fine > 1), (fine > 1).reshape(x, 2, y, 2, z, 2).any(axis=(1, 3, 5)))


@given(x=edges, y=edges, z=edges, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_upsampling_is_trilinear_at_the_fine_voxel_centres(x: int, y: int, z: int, seed: int) -> None:
    coarse = _field((x, y, z), seed).astype(np.float32)
    centres = np.indices((2 * x, 2 * y, 2 * z)) / 2 - 0.25
    plain = ndimage.map_coordinates(coarse.astype(np.float64), centres, order=1, mode="nearest")
    np.testing.assert_allclose(upsampled(coarse, whole((x, y, z))), plain, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), data=st.data())
@settings(deadline=None)
def test_a_window_shows_what_the_whole_box_shows_there(seed: int, data: st.DataObject) -> None:
    coarse = _field((6, 7, 8), seed).astype(np.float32)
    start = tuple(data.draw(st.integers(0, edge - 1)) for edge in coarse.shape)
    stop = tuple(data.draw(st.integers(a + 1, edge)) for a, edge in zip(start, coarse.shape, strict=True))
    window = Window((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    everywhere = upsampled(coarse, whole((6, 7, 8)))
    np.testing.assert_array_equal(upsampled(coarse, window), everywhere[window.fine])


def test_a_window_around_nothing_is_none() -> None:
    assert window_around(np.zeros((4, 4, 4), np.bool_)) is None


def test_a_window_grows_by_its_margin_but_never_out_of_the_box() -> None:
    mask = np.zeros((8, 8, 8), np.bool_)
    mask[0, 3, 7] = True
    assert window_around(mask, margin=2) == Window((0, 1, 5), (3, 6, 8))
