"""From lines to report: resumable, without NaN, with bars that are computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from services.core.imaging.labels import REGIONS
from services.evaluation.bars import Bar, bars
from services.evaluation.marker_figures import marker_figures
from services.evaluation.origin import Origin, settings_digest
from services.evaluation.page import page
from services.evaluation.pictures import draw, picture_path
from services.evaluation.runs import SYNTHETIC_SEEDS, lines, resumed
from services.evaluation.summary import summarised
from services.evaluation.thinning import CLINICAL, FULL, all_dropped, two_dropped
from services.fusion_segmentation.settings import FusionSettings
from services.learning.feeder import TEST_SEEDS
from services.phantom.frozen import GENERATOR_VERSION
from services.phantom.prepared import PreparedCase

pytestmark = pytest.mark.unit

ORIGIN = Origin(models={"fusion_coarse": "sha256:aa", "fusion_fine": "sha256:bb"}, settings="11")
OTHERS = (
    replace(ORIGIN, models={"fusion_coarse": "sha256:other"}),
    replace(ORIGIN, settings="22"),
    replace(ORIGIN, generator=GENERATOR_VERSION + 1),
)
PROTOCOLS = [*CLINICAL, *two_dropped()]


def phantom_line(number: int, dice: float, *, deep: bool = True) -> dict[str, Any]:
    scores = dict.fromkeys(REGIONS, dice)
    protocol = {"dice": scores, "coarse": scores, "ml": 40.0, "flags": ["UNCERTAIN_MASK"] if number == 1 else []}
    lesions = {r: {"found": 1, "missed": 0, "false": 0, "dice": dice, "hd95": 2.0} for r in REGIONS}
    return {
        "seed": number, "kind": "glioblastoma", "tesla": 3.0, "noise": "low noise", "slices": "thin", "motion": "still",
        "truth_ml": {"WT": 30.0 + 40.0 * number, "TC": 10.0, "ET": 5.0},
        "baseline": dict.fromkeys(REGIONS, 0.3),
        "protocols": dict.fromkeys(PROTOCOLS if deep else [FULL], protocol),
        "surfaces": {r: {"hd95": 2.0, "nsd1": 0.8, "nsd2": 0.9} for r in REGIONS}, "lesions": lesions,
        "instances": {r: {"found": 1, "false": 0, "missed": 0, "quality": 1.0, "dice": dice} for r in REGIONS},
        "sensitivity": scores, "specificity": scores,
        "bias_ml": dict.fromkeys(REGIONS, 1.0), "gates": {}, "mean_vacuity": 0.1 * (number + 1), "brier": 0.1,
        "bins": {"count": [0.0] * 14 + [100.0], "confidence": [0.0] * 14 + [97.0], "right": [0.0] * 14 + [95.0]},
        "wrong_among_uncertain": None if number == 1 else 0.7,
    }  # fmt: skip


def filled(folder: Path) -> Path:
    resumed(folder / "phantoms.jsonl", range(3), ORIGIN, lambda n: phantom_line(n, 0.9 - 0.1 * n, deep=n < 2))
    resumed(folder / "healthy.jsonl", range(4), ORIGIN, lambda n: {"ml": 0.5 * n, "flags": []})
    resumed(folder / "template.jsonl", [0], ORIGIN, lambda _: {"ml": 3.0, "flags": ["UNCERTAIN_MASK"]})
    evidence = {"idh": [1.0, 9.0], "codel_1p19q": [3.0, 1.0], "mgmt": [1.0, 1.0], "h3k27m": [9.0, 0.0]}
    resumed(
        folder / "markers.jsonl",
        range(4),
        ORIGIN,
        lambda n: {
            "truth": {"idh": n > 1, "codel_1p19q": n == 3, "mgmt": n == 0, "h3k27m": False},
            "evidence": {"all ten": {**evidence, "idh": [1.0, 9.0] if n > 1 else [9.0, 1.0]}},
        },
    )
    return folder


def test_a_line_that_is_there_is_not_measured_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def measure(number: int) -> dict[str, Any]:
        asked.append(number)
        return {"value": number}

    path = tmp_path / "new" / "lines.jsonl"
    resumed(path, range(2), ORIGIN, measure)
    resumed(path, range(3), ORIGIN, measure)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("other", OTHERS)
def test_other_networks_settings_or_phantoms_are_measured_anew_and_reported_apart(
    tmp_path: Path, other: Origin
) -> None:
    path = tmp_path / "healthy.jsonl"
    resumed(path, range(2), ORIGIN, lambda _: {"ml": 0.0, "flags": []})
    resumed(path, range(1), other, lambda _: {"ml": 9.0, "flags": []})
    assert len(lines(path)) == 3
    assert summarised(tmp_path, ORIGIN)["healthy"]["largest_ml"] == 0.0
    assert summarised(tmp_path, other)["healthy"]["cases"] == 1


def test_the_cavity_after_a_resection_has_a_figure_of_its_own(tmp_path: Path) -> None:
    resumed(
        tmp_path / "operated.jsonl",
        range(2),
        ORIGIN,
        lambda n: {"protocols": {FULL: {"dice": dict.fromkeys(REGIONS, 0.5)}}, "cavity": 0.6 + 0.2 * n},
    )
    report = summarised(tmp_path, ORIGIN)
    assert report["operated"]["cavity"] == pytest.approx(0.7)
    assert "Dice of the cavity: 0.70" in page(report, bars(report), "today")


def test_whether_networks_are_held_changes_no_figure_and_a_rule_of_masks_does() -> None:
    usual = settings_digest(FusionSettings())
    assert settings_digest(FusionSettings(held_models="")) == usual
    assert settings_digest(FusionSettings(min_lesion_voxels=5)) != usual


def test_half_a_line_of_an_interrupted_run_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    resumed(path, range(2), ORIGIN, lambda n: {"value": n})
    path.write_text(path.read_text()[:-10])
    assert [row["number"] for row in lines(path)] == [0]
    resumed(path, range(2), ORIGIN, lambda n: {"value": n})
    assert [row["number"] for row in lines(path)] == [0, 1]


def test_a_report_holds_no_nan_and_only_lines_of_its_models(tmp_path: Path) -> None:
    report = summarised(filled(tmp_path), ORIGIN)
    json.dumps(report, allow_nan=False)
    assert report["phantoms"]["cases"] == 3
    assert report["phantoms"]["dice"]["WT"] == pytest.approx(0.8)
    assert report["phantoms"]["flagged"] == pytest.approx(1 / 3)
    assert report["healthy"]["under_1_ml"] == 2
    assert report["markers"]["all ten"]["idh"]["auc"] == 1.0
    assert "phantoms" not in summarised(tmp_path, OTHERS[0])


def test_protocols_are_compared_on_the_same_cases(tmp_path: Path) -> None:
    found = summarised(filled(tmp_path), ORIGIN)["phantoms"]
    assert {row["cases"] for row in found["protocols"].values()} == {2}
    assert set(found["protocols"]) == set(PROTOCOLS)
    assert found["two_missing"]["mean_keeping_flair_or_t2"] == pytest.approx(0.0)


def test_every_bar_is_computed_from_the_report(tmp_path: Path) -> None:
    found = {bar.name: bar for bar in bars(summarised(filled(tmp_path), ORIGIN))}
    assert found["WT Dice on unseen phantoms"].missing == pytest.approx(0.1)
    assert found["healthy phantoms under 1 ml"].reached is False
    assert found["real template, T1 only: under 1 ml or flagged"].reached is True
    assert found["IDH AUC (all ten)"].reached is True
    assert all(bar.value is None for bar in bars({}))


def test_a_bar_knows_its_good_side() -> None:
    assert Bar(name="x", value=0.4, bar=0.5).missing == pytest.approx(0.1)
    assert Bar(name="x", value=0.4, bar=0.5, at_least=False).reached is True
    assert Bar(name="x", value=None, bar=0.5).reached is None


def test_the_page_says_first_what_it_is_not_for_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    report = summarised(filled(tmp_path), ORIGIN)
    html = page(report, bars(report), "2031-01-01")
    assert html.index("not for diagnosis") < html.index("<h2>Bars")
    assert "missed by 0.100" in html
    assert html.count("<svg") >= 3
    assert "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "<script" not in html


def test_the_worst_cases_are_shown(tmp_path: Path) -> None:
    report = summarised(filled(tmp_path), ORIGIN)
    html = page(report, bars(report), "2031-01-01", {2: b"png"})
    assert html.count("data:image/png;base64,cG5n") == 1
    assert html.index("phantom 2:") < html.index("phantom 1:") < html.index("phantom 0:")


def test_a_picture_shows_truth_and_answer_beside_each_other(tmp_path: Path) -> None:
    labels = np.zeros((8, 6, 4), dtype=np.uint8)
    labels[5:7, 1, 2] = 3
    image = np.ones((10, 8, 6, 4), dtype=np.float16)
    slots = np.ones(10, dtype=np.float32)
    case = PreparedCase(
        image=image, available=slots, quality=np.ones((10, 3), np.float32), labels=labels, brain=image[0] > 0
    )
    path = picture_path(tmp_path, ORIGIN.models, 7)
    draw(path, case, np.zeros_like(labels))
    drawn = imread(path)
    assert drawn.shape[:2] == (6, 32)
    red = np.argwhere(drawn[:, :, 0] > drawn[:, :, 1] + 0.1)
    assert {(int(y), int(x) - 16) for y, x in red} == {(4, 1), (4, 2)}


def test_groups_come_in_the_order_of_their_sizes(tmp_path: Path) -> None:
    def line(number: int) -> dict[str, Any]:
        return {**phantom_line(number, 0.5), "truth_ml": {"WT": (1.0, 5.0, 20.0, 80.0)[number], "TC": 0.0, "ET": 0.0}}

    resumed(tmp_path / "phantoms.jsonl", range(4), ORIGIN, line)
    found = summarised(tmp_path, ORIGIN)["phantoms"]
    assert list(found["by"]["size"]) == ["0 to 2 ml", "2 to 10 ml", "10 to 50 ml", "50 ml and more"]
    assert found["bias_percent"]["TC"] is None


def test_a_marker_without_evidence_is_not_answered() -> None:
    rows = [
        {"truth": dict.fromkeys(("idh", "codel_1p19q", "mgmt", "h3k27m"), n == 0), "evidence": {"x": {}}}
        for n in (0, 1)
    ]
    found = marker_figures(rows)["x"]["idh"]
    assert (found["answered"], found["accuracy_of_answered"], found["auc"]) == (0.0, None, 0.5)


def test_there_are_six_pairs_of_four_and_forty_five_of_ten() -> None:
    assert len(two_dropped()) == 6
    assert len(all_dropped()) == 45


def test_the_randomised_cases_are_those_that_training_leaves_alone() -> None:
    assert SYNTHETIC_SEEDS == TEST_SEEDS
