from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.canonical import COARSE_SHAPE
from services.core.imaging.labels import Label
from services.phantom.anatomy import load_atlas
from services.phantom.randomised import CaseOptions, TrainingCase, randomised_case
from services.phantom.randomised_atlas import TissueAtlas, tissue_atlas
from services.phantom.randomised_fields import smooth_noise
from services.phantom.randomised_intensity import LESION_RANGES, lesion_means
from services.phantom.randomised_lesion import Kind, LesionPlan, grow_lesion

pytestmark = pytest.mark.unit

SICK = CaseOptions(all_sequences=True, healthy_share=0.0)


@pytest.fixture(scope="module")
def atlas() -> TissueAtlas:
    return tissue_atlas(load_atlas(), 2.0)


@pytest.fixture(scope="module")
def cases(atlas: TissueAtlas) -> list[TrainingCase]:
    return [randomised_case(seed, atlas) for seed in range(100, 112)]


@pytest.fixture(scope="module")
def sick(atlas: TissueAtlas) -> list[TrainingCase]:
    return [randomised_case(seed, atlas, SICK) for seed in range(200, 210)]


def test_a_seed_says_everything_about_a_case(atlas: TissueAtlas) -> None:
    first, again, other = (randomised_case(seed, atlas) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.image, other.image)


def test_cases_lie_in_the_canonical_box_and_are_standardised(cases: list[TrainingCase]) -> None:
    for case in cases:
        assert case.image.shape == (len(STRUCTURAL), *COARSE_SHAPE)
        for slot in np.flatnonzero(case.available):
            inside = case.image[slot][case.brain]
            assert abs(float(inside.mean())) < 0.05
            assert 0.9 < float(inside.std()) < 1.1
        assert not case.image[:, ~case.brain].any()


def test_a_missing_sequence_is_zeros_everywhere_and_says_so(cases: list[TrainingCase]) -> None:
    assert any(case.available.sum() < len(STRUCTURAL) for case in cases)
    assert any(case.available.all() for case in cases)
    for case in cases:
        assert case.available.any()
        gone = case.available == 0
        assert not case.image[gone].any()
        assert not case.quality[gone].any()


def test_tumour_lies_in_the_brain_and_uses_the_schema(sick: list[TrainingCase]) -> None:
    for case in sick:
        assert not case.labels[~case.brain].any()
        assert set(np.unique(case.labels)) <= set(Label)
    assert sum(bool((case.labels > 0).any()) for case in sick) >= len(sick) - 1


def test_tumours_look_as_tumours_do(sick: list[TrainingCase]) -> None:
    """Medians over many cases of the mean in a class: oedema bright on FLAIR, enhancement bright on T1c only there."""
    flair, enhancement, contrast = [], [], []
    t1c, t2f = STRUCTURAL.index(Modality.T1C), STRUCTURAL.index(Modality.T2F)
    for case in sick:
        oedema, rim = case.labels == Label.SNFH, case.labels == Label.ET
        if oedema.sum() > 200:
            flair.append(float(case.image[t2f][oedema].mean()))
        if rim.sum() > 200 and oedema.sum() > 200:
            enhancement.append(float(case.image[t1c][rim].mean()))
            contrast.append(enhancement[-1] - float(case.image[t1c][oedema].mean()))
    assert np.median(flair) > 1.0
    assert np.median(enhancement) > 1.0
    assert min(contrast) > 0.3


def test_healthy_cases_have_no_tumour(atlas: TissueAtlas) -> None:
    case = randomised_case(1, atlas, CaseOptions(healthy_share=1.0))
    assert case.kind is None
    assert not case.labels.any()


def test_a_ring_encloses_its_core(atlas: TissueAtlas) -> None:
    plan = LesionPlan(kind=Kind.RING, centre=np.array([30.0, -10.0, 12.0]), whole_ml=60.0, core_ml=30.0)
    open_sides = []
    for seed in range(6):
        labels = grow_lesion(np.random.default_rng(seed), plan, atlas.maps, 2.0)
        core = labels == Label.NCR
        if core.sum() < 50:
            continue
        around = ndimage.binary_dilation(core) & ~core
        open_sides.append(float((labels[around] != Label.ET).mean()))
    assert np.median(open_sides) < 0.15


def test_a_lesion_has_the_volume_that_was_planned_and_spares_fluid(atlas: TissueAtlas) -> None:
    plan = LesionPlan(kind=Kind.SOLID, centre=np.array([-30.0, 10.0, 10.0]), whole_ml=50.0, core_ml=12.0)
    labels = grow_lesion(np.random.default_rng(3), plan, atlas.maps, 2.0)
    assert abs((labels > 0).sum() * 8 / 1000 - 50.0) < 1.0
    fluid = atlas.maps[0] - atlas.maps[1] - atlas.maps[2] > 0.6
    assert (labels[fluid] == Label.SNFH).sum() == 0


def test_class_contrasts_stay_inside_the_measured_ranges() -> None:
    rng = np.random.default_rng(0)
    draws = [lesion_means(rng, Kind.RING) for _ in range(200)]
    for modality, (low, high) in LESION_RANGES[Label.SNFH].items():
        values = [draw[Label.SNFH][modality] for draw in draws]
        assert low <= min(values) < max(values) <= high
    alike = [
        all(abs(draw[Label.NCR][m] - draw[Label.SNFH][m]) < 0.6 for m in STRUCTURAL) for draw in draws
    ]  # enclosed by the rim, told apart by nothing else
    assert 0.3 < np.mean(alike) < 0.55
    assert all(draw[Label.ET][Modality.T1C] >= draw[Label.NCR][Modality.T1C] + 0.8 for draw in draws)


def test_smooth_noise_has_unit_spread_at_every_scale() -> None:
    rng = np.random.default_rng(1)
    for step in (1.0, 3.0, 8.0):
        noise = smooth_noise(rng, (64, 64, 64), step)
        assert abs(float(noise.mean())) < 0.2
        assert 0.8 < float(noise.std()) < 1.2
