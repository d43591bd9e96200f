"""Functional maps, resection, scanner chain and the frozen sets."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from services.core.contracts.enums import STRUCTURAL, UNITS, Modality
from services.core.imaging.canonical import COARSE_SHAPE
from services.core.imaging.labels import Label
from services.phantom import Kind, PhantomSpec, PhantomStudy, Surgery, after_resection, followup, frozen, generate
from services.phantom.functional import FUNCTIONAL
from services.phantom.prepared import prepared
from services.phantom.scanner import moved

pytestmark = pytest.mark.unit

EVERYTHING = PhantomSpec(spacing_mm=3.0, volume_ml=60.0, sequences=tuple(Modality))


@functools.cache
def study(seed: int) -> PhantomStudy:
    return generate(seed, EVERYTHING)


def inside(made: PhantomStudy, modality: Modality, label: Label) -> float:
    return float(made.volumes[modality].data[made.labels.data == label].mean())


def test_a_study_may_hold_all_ten_sequences_in_their_units() -> None:
    made = study(3)
    assert set(made.volumes) == set(Modality)
    for modality in FUNCTIONAL:
        volume = made.volumes[modality]
        assert volume.units == UNITS[modality]
        assert not volume.data[made.brain_mask.data == 0].any()


def test_functional_maps_show_cells_water_and_order_as_they_should() -> None:
    made = [study(seed) for seed in range(3, 9)]
    brain = [m.brain_mask.data > 0 for m in made]
    for modality, low, high in ((Modality.ADC, 0.8, 1.6), (Modality.FA, 0.1, 0.45), (Modality.RCBV, 0.8, 2.2)):
        means = [float(m.volumes[modality].data[b].mean()) for m, b in zip(made, brain, strict=True)]
        assert low < np.median(means) < high
    tumour = [inside(m, Modality.CHO_NAA, Label.ET) for m in made if (m.labels.data == Label.ET).any()]
    assert np.median(tumour) > 1.2 * np.median(
        [float(m.volumes[Modality.CHO_NAA].data[b].mean()) for m, b in zip(made, brain, strict=True)]
    )


def test_functional_maps_alone_are_no_study() -> None:
    with pytest.raises(ValueError, match="at least one of the sequences"):
        PhantomSpec(sequences=(Modality.ADC,))


def test_a_resection_leaves_a_cavity_that_looks_like_fluid_and_less_tumour() -> None:
    before = study(4)
    after = after_resection(before, days=2, seed=1, surgery=Surgery(extent=0.9, margin_mm=1.0, collapsed=0.1))
    assert (after.labels.data == Label.RC).any()
    assert not (before.labels.data == Label.RC).any()
    assert 0 < after.truth_ml["TC"] < 0.4 * before.truth_ml["TC"]
    brain = after.brain_mask.data > 0
    assert inside(after, Modality.T1N, Label.RC) < float(after.volumes[Modality.T1N].data[brain].mean())
    assert inside(after, Modality.T2W, Label.RC) > float(after.volumes[Modality.T2W].data[brain].mean())
    assert inside(after, Modality.ADC, Label.RC) > 2.0
    assert (after.visit.number, after.genotype) == (1, before.genotype)
    assert after.acquired_at > before.acquired_at


def test_the_more_is_taken_the_less_tumour_stays() -> None:
    before = study(4)
    left = [
        after_resection(before, days=2, seed=1, surgery=Surgery(extent=extent, margin_mm=0.0)).truth_ml["TC"]
        for extent in (0.4, 0.8, 1.0)
    ]
    assert left[0] > left[1] > left[2] == 0.0


def test_the_same_operation_leaves_the_same_voxels_and_another_seed_others() -> None:
    made = [after_resection(study(4), days=2, seed=seed) for seed in (1, 1, 2)]
    for name in (Modality.T1C, Modality.ADC):
        np.testing.assert_array_equal(made[0].volumes[name].data, made[1].volumes[name].data)
    np.testing.assert_array_equal(made[0].labels.data, made[1].labels.data)
    assert not np.array_equal(made[0].labels.data, made[2].labels.data)


@pytest.mark.parametrize(("volume_ml", "collapsed"), [(2.0, 0.0), (6.0, 0.8), (120.0, 0.8)])
def test_small_and_collapsed_cavities_stay_inside_what_was_taken(volume_ml: float, collapsed: float) -> None:
    before = generate(6, PhantomSpec(spacing_mm=3.0, volume_ml=volume_ml))
    after = after_resection(before, days=2, seed=1, surgery=Surgery(extent=1.0, margin_mm=0.0, collapsed=collapsed))
    assert 0.0 < after.truth_ml["RC"] <= before.truth_ml["TC"] * (1.15 - collapsed) + 0.2
    assert after.truth_ml["TC"] == 0.0
    assert after.truth_ml["WT"] <= 1.1 * before.truth_ml["WT"]
    assert not (after.labels.data[after.brain_mask.data == 0] == Label.RC).any()


def test_a_brain_relaxes_when_the_mass_is_gone() -> None:
    before = study(4)
    pushed, relaxed = (
        after_resection(before, days=60, seed=1, surgery=Surgery(extent=1.0, relaxed=share)) for share in (0.0, 0.8)
    )
    assert not np.array_equal(pushed.labels.data, relaxed.labels.data)
    assert (relaxed.labels.data == Label.RC).any()
    still = after_resection(before, days=60, seed=1, surgery=Surgery(extent=1.0))
    np.testing.assert_array_equal(still.labels.data, pushed.labels.data)


def test_what_follows_a_resection_is_refused_rather_than_invented() -> None:
    after = after_resection(study(4), days=2, seed=1)
    with pytest.raises(ValueError, match="not modelled"):
        followup(after, 3, seed=2)
    with pytest.raises(ValueError, match="not modelled"):
        after_resection(after, days=2, seed=2)


@pytest.mark.parametrize("wrong", [{"extent": 0.0}, {"margin_mm": 50.0}, {"collapsed": 1.0}, {"relaxed": 2.0}])
def test_an_impossible_resection_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        Surgery(**wrong)


def test_there_is_nothing_to_resect_in_a_healthy_brain() -> None:
    healthy = generate(1, PhantomSpec(spacing_mm=4.0, kind=Kind.HEALTHY))
    with pytest.raises(ValueError, match="nothing to resect"):
        after_resection(healthy, days=2, seed=1)
    with pytest.raises(ValueError, match="a day later"):
        after_resection(study(4), days=0, seed=1)


def test_motion_ghosts_along_one_axis_and_keeps_the_mean() -> None:
    scene = np.zeros((24, 32, 24), dtype=np.float32)
    scene[6:18, 8:24, 6:18] = 1.0
    spoilt = moved(np.random.default_rng(0), scene, 0.6)
    assert np.abs(spoilt - scene)[:, :8].max() > 0.02
    assert np.abs(spoilt - scene)[:6].max() < 1e-5
    assert float(spoilt.mean()) == pytest.approx(float(scene.mean()), rel=0.15)


def test_only_the_chosen_series_is_cut_or_moved() -> None:
    plain = PhantomSpec(spacing_mm=4.0, volume_ml=40.0)
    whole = generate(2, plain)
    cut = generate(2, replace(plain, cut=Modality.T2F, cut_mm=60.0))
    spoilt = generate(2, replace(plain, moved=Modality.T2W, motion=0.6))
    for modality in STRUCTURAL:
        same = [np.array_equal(s.volumes[modality].data, whole.volumes[modality].data) for s in (cut, spoilt)]
        assert same == [modality is not Modality.T2F, modality is not Modality.T2W]
    assert not cut.volumes[Modality.T2F].data[:, :, -15:].any()


def test_the_contrast_curve_changes_values_but_not_their_order() -> None:
    made = [generate(2, PhantomSpec(spacing_mm=4.0, gamma=gamma, snr=1e6)) for gamma in (1.0, 1.3)]
    plain, curved = (m.volumes[Modality.T2W].data[m.brain_mask.data > 0].astype(float) for m in made)
    assert not np.allclose(plain, curved)
    assert np.corrcoef(plain.argsort().argsort(), curved.argsort().argsort())[0, 1] > 0.98


def test_the_frozen_sets_share_nobody() -> None:
    makers = (
        frozen.tumour_study, frozen.healthy_study, frozen.selection_study, frozen.training_study, frozen.operated_study,
    )  # fmt: skip
    seeds = [make(0, 6.0).seed for make in makers]
    assert len(set(seeds)) == len(seeds)


def test_the_frozen_sets_hold_what_they_promise() -> None:
    assert frozen.GENERATOR_VERSION == 3
    assert frozen.healthy_study(1, 6.0).genotype is None
    assert (frozen.operated_study(0, 6.0).labels.data == Label.RC).any()
    tumour = frozen.tumour_study(2, 6.0)
    assert tumour.genotype is not None
    assert set(tumour.volumes) == set(STRUCTURAL)


@pytest.mark.parametrize(("number", "mean", "labels"), [(0, 48.530, 410), (1, 37.968, 233), (2, 82.537, 618)])
def test_the_frozen_phantoms_have_not_changed(number: int, mean: float, labels: int) -> None:
    """Whoever changes a voxel of them raises GENERATOR_VERSION, draws new seeds and reports both sets."""
    made = frozen.tumour_study(number, 6.0)
    assert float(made.volumes[Modality.T1C].data.mean()) == pytest.approx(mean, rel=2e-3)
    assert int(made.labels.data.sum()) == pytest.approx(labels, rel=0.02)


def test_a_prepared_phantom_is_what_the_coarse_network_reads() -> None:
    case = prepared(frozen.marker_study(0), 2.0)
    assert case.image.shape == (len(Modality), *COARSE_SHAPE)
    assert case.available.all()
    assert not case.image[:, ~case.brain].any()
    z = case.image[0][case.brain].astype(np.float64)
    assert (abs(z.mean()), z.std()) == (pytest.approx(0.0, abs=0.05), pytest.approx(1.0, abs=0.05))
    assert set(np.unique(case.labels)) <= {int(label) for label in Label}


def test_a_structural_study_has_empty_functional_slots() -> None:
    case = prepared(frozen.tumour_study(0, 2.0), 2.0)
    assert case.available.tolist() == [1.0] * 4 + [0.0] * 6
    assert not case.image[4:].any()
    assert not case.quality[4:].any()
