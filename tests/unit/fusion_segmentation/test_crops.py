"""Where the fine model looks: crops stay in the box, are few, and hold the tumour whenever they can."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.imaging.canonical import BOX_MM, COARSE_SHAPE
from services.fusion_segmentation.domain.box import CROP_COARSE, Window, window_around
from services.fusion_segmentation.domain.crops import crops_around, find_crops, outside, uncovered

pytestmark = pytest.mark.unit


@st.composite
def lesions(draw: st.DrawFn) -> NDArray[np.bool_]:
    """One to four boxes of any size anywhere in the box, at 2 mm."""
    mask = np.zeros(COARSE_SHAPE, np.bool_)
    for _ in range(draw(st.integers(1, 4))):
        spans = []
        for edge in COARSE_SHAPE:
            start = draw(st.integers(0, edge - 1))
            spans.append(slice(start, draw(st.integers(start + 1, edge))))
        mask[tuple(spans)] = True
    return mask


def _tiles_needed(mask: NDArray[np.bool_]) -> int:
    held = window_around(mask)
    assert held is not None
    return math.prod(-(-(b - a) // edge) for a, b, edge in zip(held.start, held.stop, CROP_COARSE, strict=True))


@given(mask=lesions(), limit=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_crops_cover_the_tumour_when_there_are_enough_of_them(mask: NDArray[np.bool_], limit: int) -> None:
    crops = find_crops(mask, limit)
    assert 1 <= len(crops) <= limit
    for crop in crops:
        assert all(a >= 0 and b <= edge for a, b, edge in zip(crop.start, crop.stop, COARSE_SHAPE, strict=True))
        assert tuple(b - a for a, b in zip(crop.start, crop.stop, strict=True)) == CROP_COARSE
        assert mask[crop.coarse].any()
    if _tiles_needed(mask) <= limit:
        assert uncovered(mask, crops) == 0
        assert len(crops) <= _tiles_needed(mask)


@given(mask=lesions())
@settings(max_examples=8, deadline=None)
def test_more_crops_never_cover_less(mask: NDArray[np.bool_]) -> None:
    left = [uncovered(mask, find_crops(mask, limit)) for limit in (1, 2, 4, 8)]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0  # eight crops hold the whole box


def test_nothing_needs_no_crop() -> None:
    assert find_crops(np.zeros(COARSE_SHAPE, np.bool_), 4) == ()


def test_a_small_tumour_lies_in_the_middle_of_its_only_crop() -> None:
    mask = np.zeros(COARSE_SHAPE, np.bool_)
    mask[38:42, 46:52, 38:42] = True
    assert find_crops(mask, 4) == (Window((16, 25, 16), (64, 73, 64)),)


def test_two_distant_foci_get_a_crop_each() -> None:
    mask = np.zeros(COARSE_SHAPE, np.bool_)
    mask[5:10, 5:10, 5:10] = mask[70:75, 85:90, 70:75] = True
    assert len(find_crops(mask, 4)) == 2
    assert uncovered(mask, find_crops(mask, 1)) == 125


def test_a_tumour_as_wide_as_a_crop_is_not_cut_for_want_of_margin() -> None:
    labels = np.zeros(BOX_MM, np.uint8)
    labels[30:126, 50:146, 30:126] = 2
    crops = crops_around(labels, margin_mm=4, limit=1)
    assert len(crops) == 1
    assert outside(labels, crops) == 0


def test_crops_leave_the_margin_that_was_asked_for() -> None:
    labels = np.zeros(BOX_MM, np.uint8)
    labels[30:118, 50:60, 60:70] = 2
    (crop,) = crops_around(labels, margin_mm=4, limit=4)
    assert crop.fine[0].start <= 26
    assert crop.fine[0].stop >= 122


def test_voxels_outside_every_crop_are_counted() -> None:
    labels = np.zeros(BOX_MM, np.uint8)
    labels[0:2, 0:2, 0:2] = labels[150:153, 150:153, 150:153] = 3
    assert outside(labels, crops_around(labels, margin_mm=0, limit=1)) == 8
