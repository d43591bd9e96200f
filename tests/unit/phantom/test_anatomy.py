"""Individual brains: tissue that adds up, maps that do not fold, noise with the promised statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.phantom.anatomy import Atlas, head_grid, load_atlas, random_anatomy
from services.phantom.deformation import after, box_grid, grid_points, integrate, random_velocity, smooth_noise
from services.phantom.spec import Kind
from services.phantom.tumour import draw_plan, grow_in

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas()


def test_every_individual_has_an_invertible_shape_and_a_human_brain_volume(atlas: Atlas) -> None:
    volumes = []
    for seed in range(6):
        anatomy = random_anatomy(np.random.default_rng(seed), atlas)
        assert anatomy.deformation.jacobian().min() > 0
        grid = head_grid(4.0)
        tissues = anatomy.tissues(grid_points(grid))
        volumes.append(float(tissues.brain.sum()) * grid.voxel_ml)
        np.testing.assert_allclose(tissues.white + tissues.grey + tissues.csf, tissues.brain, atol=2e-3)
        assert min(tissues.white.min(), tissues.grey.min(), tissues.csf.min()) >= 0
    assert all(1000 < volume < 2000 for volume in volumes)
    assert max(volumes) - min(volumes) > 20


def test_shape_and_mass_effect_together_never_fold_a_brain(atlas: Atlas) -> None:
    for seed, volume_ml in ((1, 20.0), (2, 150.0), (3, 220.0)):
        rng = np.random.default_rng(seed)
        plan = replace(draw_plan(rng, Kind.GLIOBLASTOMA), volume_ml=volume_ml, push_mm=10.0)
        pushed, growth = grow_in(rng, random_anatomy(rng, atlas), plan, 4.0)
        assert growth.push.largest_mm() > 3.0
        assert growth.push.jacobian().min() > 0
        assert pushed.deformation.jacobian().min() > 0


def test_deep_nuclei_and_ventricles_lie_inside_their_box_and_only_there(atlas: Atlas) -> None:
    points = grid_points(atlas.grid)
    for values in (atlas.deep, atlas.ventricle):
        filled = points[:, values.reshape(-1) > 0]
        assert (filled > atlas.middle.min(axis=0)[:, None]).all()
        assert (filled < atlas.middle.max(axis=0)[:, None]).all()
    assert np.prod(np.abs(atlas.middle[1] - atlas.middle[0])) < 0.5 * atlas.brain.size * atlas.grid.voxel_ml * 1000
    with pytest.raises(ValueError, match="read-only"):
        atlas.grey[0, 0, 0] = 1.0


def test_no_brain_touches_the_border_of_its_grid(atlas: Atlas) -> None:
    grid = head_grid(4.0)
    for seed in range(6):
        brain = random_anatomy(np.random.default_rng(seed), atlas).brain_at(grid_points(grid)).reshape(grid.shape)
        for axis in (0, 1, 2):
            assert brain.take(0, axis=axis).max() == 0
            assert brain.take(-1, axis=axis).max() == 0


def test_a_velocity_and_its_opposite_cancel() -> None:
    grid = box_grid((-40.0, -40.0, -40.0), (40.0, 40.0, 40.0), 4.0)
    velocity = random_velocity(np.random.default_rng(3), grid, 40.0, 1.5)
    there_and_back = after(integrate(velocity, grid), integrate(-velocity, grid))
    inner = there_and_back.displacement[:, 4:-4, 4:-4, 4:-4]
    assert np.abs(inner).max() < 0.5


def test_smooth_noise_is_standardised_and_correlated_over_its_scale() -> None:
    noise = smooth_noise(np.random.default_rng(1), box_grid((0.0, 0.0, 0.0), (79.0, 79.0, 79.0), 1.0), 10.0)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    near = float((noise[:-2] * noise[2:]).mean())
    far = float((noise[:-35] * noise[35:]).mean())
    assert near > 0.8
    assert abs(far) < 0.25
