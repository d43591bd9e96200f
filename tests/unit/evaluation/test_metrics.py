"""Metrics against cases computed by hand and against figures of outside programs."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import surface_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.imaging.labels import Label
from services.evaluation.baseline import otsu, thresholded
from services.evaluation.calibration import (
    added,
    auc,
    binned,
    expected_calibration_error,
    near,
    risk_coverage,
    wrong_among_uncertain,
)
from services.evaluation.instances import instance_scores
from services.evaluation.lesions import lesion_scores
from services.evaluation.metrics import dice, mean_dices, region_dices, sensitivity, specificity, volume_bias
from services.evaluation.surfaces import surface_scores
from services.phantom.prepared import PreparedCase

pytestmark = pytest.mark.unit

Mask = NDArray[np.bool_]
SHAPE = (24, 24, 24)
EMPTY = np.zeros(SHAPE, dtype=bool)


def ball(centre: tuple[int, int, int], radius: float) -> Mask:
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    x, y, z = (g - c for g, c in zip(grid, centre, strict=True))
    mask: Mask = x**2 + y**2 + z**2 <= radius**2
    return mask


def test_dice_is_defined_for_empty_masks() -> None:
    full = ~EMPTY
    assert (dice(EMPTY, EMPTY), dice(EMPTY, full), dice(full, full)) == (1.0, 0.0, 1.0)
    nothing = np.zeros(SHAPE, dtype=np.uint8)
    assert region_dices(nothing, nothing) == {"WT": 1.0, "TC": 1.0, "ET": 1.0}
    with pytest.raises(ValueError, match="no cases"):
        mean_dices([])


def test_a_cavity_belongs_to_no_region() -> None:
    labels = np.full(SHAPE, Label.RC, dtype=np.uint8)
    assert region_dices(labels, np.zeros(SHAPE, dtype=np.uint8)) == {"WT": 1.0, "TC": 1.0, "ET": 1.0}


def test_volume_bias_is_positive_where_too_much_was_found() -> None:
    assert volume_bias(ball((12, 12, 12), 6), ball((12, 12, 12), 4), 0.001) > 0
    assert volume_bias(EMPTY, EMPTY, 0.001) == 0.0


def test_surfaces_agree_with_the_library_that_defines_them() -> None:
    guess, truth = ball((12, 12, 12), 6), ball((13, 11, 12), 5)
    found = surface_distance.compute_surface_distances(truth, guess, (1.0, 1.0, 1.0))
    scores = surface_scores(guess, truth)
    assert scores["hd95"] == pytest.approx(surface_distance.compute_robust_hausdorff(found, 95), abs=1e-4)
    assert scores["nsd1"] == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(found, 1.0), abs=1e-4)
    assert scores["nsd2"] == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(found, 2.0), abs=1e-4)


def test_surfaces_of_empty_masks_are_finite() -> None:
    assert surface_scores(EMPTY, EMPTY) == {"hd95": 0.0, "nsd1": 1.0, "nsd2": 1.0}
    worst = surface_scores(EMPTY, ball((12, 12, 12), 4))
    assert worst["hd95"] == pytest.approx(24 * 3**0.5)
    assert worst["nsd2"] == 0.0


def test_lesions_are_found_missed_and_invented() -> None:
    truth = ball((6, 6, 6), 3) | ball((18, 18, 18), 3)
    guess = ball((6, 6, 6), 3) | ball((18, 6, 6), 3)
    scores = lesion_scores(guess, truth)
    assert (scores.found, scores.missed, scores.false) == (1, 1, 1)
    assert scores.dice == pytest.approx(1 / 3)
    assert scores.hd95 == pytest.approx(2 * 24 * 3**0.5 / 3)


def test_specks_are_no_lesions_and_nothing_against_nothing_is_right() -> None:
    speck = EMPTY.copy()
    speck[3, 3, 3] = True
    assert lesion_scores(speck, EMPTY).dice == 1.0
    assert lesion_scores(EMPTY, EMPTY).dice == 1.0


def test_nothing_against_nothing_is_one_right_answer_in_every_metric() -> None:
    assert instance_scores(EMPTY, EMPTY).quality == instance_scores(EMPTY, EMPTY).dice == 1.0
    assert instance_scores(EMPTY, ball((12, 12, 12), 4)).dice == instance_scores(~EMPTY, EMPTY).quality == 0.0
    assert (sensitivity(EMPTY, EMPTY), specificity(EMPTY, EMPTY, EMPTY)) == (1.0, 1.0)
    assert lesion_scores(EMPTY, EMPTY).hd95 == 0.0


def test_what_was_left_alone_counts_inside_the_brain_only() -> None:
    brain, truth = ball((12, 12, 12), 8), ball((12, 12, 12), 3)
    assert specificity(~EMPTY, truth, brain) == 0.0
    assert specificity(truth | ~brain, truth, brain) == 1.0
    assert sensitivity(ball((12, 12, 12), 2), truth) == pytest.approx(33 / 123)


def test_two_halves_of_a_part_are_no_instance_of_it() -> None:
    truth = EMPTY.copy()
    truth[4:14, 4:8, 4:8] = True
    guess = truth.copy()
    guess[8:10] = False
    scores = instance_scores(guess, truth)
    assert (scores.found, scores.false, scores.missed, scores.quality) == (0, 2, 1, 0.0)


Cubes = list[tuple[int, int, int, int]]
cubes = st.lists(st.tuples(*[st.integers(0, 18)] * 3, st.integers(2, 6)), max_size=5)


def drawn(places: Cubes) -> Mask:
    mask = EMPTY.copy()
    for x, y, z, edge in places:
        mask[x : x + edge, y : y + edge, z : z + edge] = True
    return mask


@settings(deadline=None, max_examples=25)
@given(cubes, cubes)
def test_every_metric_is_finite_and_perfect_for_the_truth_itself(guess: Cubes, truth: Cubes) -> None:
    one, other = drawn(guess), drawn(truth)
    for scores in (instance_scores(one, other), lesion_scores(one, other, least=1)):
        assert np.isfinite(list(asdict(scores).values())).all()
    assert np.isfinite(list(surface_scores(one, other).values())).all()
    same = instance_scores(other, other)
    assert (same.false, same.missed, same.quality, same.dice) == (0, 0, 1.0, 1.0)
    assert lesion_scores(other, other, least=1).dice == 1.0


def test_pieces_of_one_lesion_count_as_that_lesion() -> None:
    truth = ball((12, 12, 12), 7)
    guess = truth.copy()
    guess[:, :, 12] = False
    scores = lesion_scores(guess, truth)
    assert (scores.found, scores.false) == (1, 0)
    assert scores.dice == pytest.approx(dice(guess, truth))


def test_a_perfectly_calibrated_answer_has_no_calibration_error() -> None:
    confidence = np.repeat([0.55, 0.75, 0.95], 1000)
    right = np.concatenate([np.arange(1000) < 1000 * c for c in (0.55, 0.75, 0.95)])
    assert expected_calibration_error(binned(confidence, right)) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(binned(confidence, np.zeros(3000, dtype=bool))) == pytest.approx(0.75, abs=1e-6)
    assert expected_calibration_error(binned(np.array([]), np.array([], dtype=bool))) == 0.0


def test_bins_of_several_cases_add_up_to_the_bins_of_all() -> None:
    rng = np.random.default_rng(0)
    confidence, right = rng.random(500), rng.random(500) > 0.4
    whole = binned(confidence, right)
    parts = added([binned(confidence[:200], right[:200]), binned(confidence[200:], right[200:])])
    assert parts.count == whole.count
    assert parts.confidence == pytest.approx(whole.confidence)
    with pytest.raises(ValueError, match="nothing to add"):
        added([])


def test_only_voxels_within_ten_millimetres_are_near() -> None:
    mask = EMPTY.copy()
    mask[12, 12, 12] = True
    close = near(mask, 2.0)
    assert close[17, 12, 12]
    assert not close[18, 12, 12]
    assert not near(EMPTY, 2.0).any()


def test_errors_are_caught_by_doubt_only_when_doubt_is_where_they_are() -> None:
    doubt = np.arange(100, dtype=float)
    wrong = np.zeros(100, dtype=bool)
    wrong[95:] = True
    assert wrong_among_uncertain(doubt, wrong) == 1.0
    assert wrong_among_uncertain(-doubt, wrong) == 0.0
    assert wrong_among_uncertain(doubt, np.zeros(100, dtype=bool)) is None
    assert wrong_among_uncertain(np.zeros(100), wrong) == pytest.approx(0.1)


def test_auc_is_the_chance_to_rank_a_pair_rightly() -> None:
    truth = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), truth) == pytest.approx(0.75)
    assert auc(np.zeros(4), truth) == pytest.approx(0.5)
    assert auc(np.zeros(4), np.zeros(4, dtype=bool)) is None


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=30), st.integers(1, 3))
def test_auc_does_not_depend_on_the_scale_of_the_score(values: list[float], present: int) -> None:
    truth = np.arange(len(values)) < present
    score = np.round(np.array(values), 3)
    assert auc(score, truth) == pytest.approx(auc(3 * score + 7, truth))


def test_risk_grows_with_coverage_when_confidence_is_right() -> None:
    coverage, risk = risk_coverage(np.array([0.9, 0.1, 0.5]), np.array([0.0, 0.9, 0.3]))
    assert coverage == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert risk == pytest.approx([0.0, 0.15, 0.4])


def test_otsu_parts_two_heaps() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 1, 500), rng.normal(10, 1, 300)]).astype(np.float32)
    assert 3 < otsu(values) < 7


def test_the_peer_finds_a_bright_tumour_with_an_enhancing_rim() -> None:
    brain, tumour = ball((12, 12, 12), 10), ball((13, 12, 12), 5)
    rim = ball((13, 12, 12), 4) & ~ball((13, 12, 12), 2)
    flair = np.where(brain, 1.0, 0.0) + ball((12, 12, 12), 8) * 0.5 + tumour * 4.0 - ball((6, 12, 12), 2) * 2.0
    image = np.zeros((10, *SHAPE), dtype=np.float16)
    image[3], image[1] = flair, brain * 1.0 + rim * 3.0
    case = PreparedCase(
        image=image, available=np.ones(10, np.float32), quality=np.ones((10, 3), np.float32),
        labels=np.zeros(SHAPE, np.uint8), brain=brain,
    )  # fmt: skip
    found = thresholded(case)
    assert dice(found > 0, tumour) > 0.99
    assert dice(found == Label.ET, rim) > 0.95
    assert dice((found == Label.ET) | (found == Label.NCR), ball((13, 12, 12), 4)) > 0.95
