"""The quality vector follows what was done to the image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from services.core.imaging.quality import measure
from services.core.imaging.volume import Volume

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def head() -> tuple[Volume, Volume]:
    """An isotropic texture in a ball, and the ball."""
    rng = np.random.default_rng(11)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (96, 96, 64)), 1.2)
    data = (400 + 80 * texture / texture.std()).astype(np.float32)
    index = np.indices(data.shape)
    inside = sum(((index[i] - s / 2) / (0.45 * s)) ** 2 for i, s in enumerate(data.shape)) < 1
    affine = np.diag([1.5, 1.5, 2.0, 1.0])
    mask = Volume(data=inside.astype(np.uint8), affine=affine, modality="brain_mask", units="1")
    return Volume(data=data * inside, affine=affine, modality="t1n", units="a.u."), mask


@pytest.mark.parametrize("sigma", [5.0, 20.0, 60.0])
def test_log_snr_is_the_logarithm_of_mean_over_noise(head: tuple[Volume, Volume], sigma: float) -> None:
    volume, mask = head
    noise = np.random.default_rng(4).normal(0, sigma, volume.data.shape).astype(np.float32)
    found = measure(volume.with_data(volume.data + noise * mask.data), mask, np.eye(4), 2.0)
    assert found is not None
    assert found.log_snr == pytest.approx(np.log(400 / sigma), abs=0.25)
    assert found.slice_thickness_mm == 2.0


@pytest.mark.parametrize("axis", [0, 1])
def test_motion_grows_with_a_blur_along_one_direction(head: tuple[Volume, Volume], axis: int) -> None:
    volume, mask = head
    found = []
    for width in (1, 3, 6):
        blurred = ndimage.uniform_filter1d(volume.data, width, axis=axis) * mask.data
        quality = measure(volume.with_data(blurred), mask, np.eye(4), 2.0)
        assert quality is not None
        found.append(quality.motion)
    assert found[0] < 0.15
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.4


def test_there_is_no_quality_where_the_mask_does_not_meet_the_series(head: tuple[Volume, Volume]) -> None:
    volume, mask = head
    away = np.eye(4)
    away[:3, 3] = 900.0
    assert measure(volume, mask, away, 2.0) is None
