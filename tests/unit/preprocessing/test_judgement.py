"""What is missing or poor degrades, what is doubtful asks for a person, and nothing at all is a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from services.core.contracts.enums import STRUCTURAL, Completeness, Modality, Verdict
from services.core.contracts.facts import SeriesFacts
from services.core.contracts.manifest import Reason
from services.preprocessing.domain.judgement import Brain, judge, nothing_usable

pytestmark = pytest.mark.unit


def facts(modality: Modality, **changes: Any) -> SeriesFacts:
    values: dict[str, Any] = {
        "series": f"s-{modality}",
        "modality": modality,
        "used": True,
        "reason": "",
        "shape": (240, 240, 155),
        "spacing_mm": (1.0, 1.0, 1.0),
        "slice_thickness_mm": 1.0,
        "motion": 0.1,
    }
    return SeriesFacts(**{**values, **changes})


def brain(**changes: Any) -> Brain:
    return Brain(**{"volume_ml": 1400.0, "stripped": False, "cut_off": False, "outside_box_ml": 0.0, **changes})


ALL = [facts(slot) for slot in STRUCTURAL]


def codes(series: list[SeriesFacts], of: Brain | None = None) -> set[str]:
    return {reason.code for reason in judge(series, of or brain(), [], 4.0).reasons}


def test_four_good_sequences_are_complete_and_trusted() -> None:
    found = judge(ALL, brain(), [], 4.0)
    assert (found.completeness, found.verdict, found.reasons) == (Completeness.COMPLETE, Verdict.TRUSTED, ())


def test_each_missing_sequence_degrades_with_its_consequence() -> None:
    assert codes(ALL[:1]) == {"T1C_MISSING", "T2W_MISSING", "T2F_MISSING", "ONE_SEQUENCE"}
    assert judge(ALL[1:], brain(), [], 4.0).completeness is Completeness.DEGRADED


def test_thick_slices_and_motion_degrade() -> None:
    poor = [facts(Modality.T2F, slice_thickness_mm=6.0, motion=0.9), *ALL[:3]]
    assert codes(poor) == {"T2F_THICK_SLICES", "T2F_MOTION"}
    assert not codes([facts(Modality.T2F, used=False, slice_thickness_mm=6.0), *ALL])


@pytest.mark.parametrize(
    "doubt", [{"volume_ml": 300.0}, {"volume_ml": 2500.0}, {"cut_off": True}, {"outside_box_ml": 30.0}]
)
def test_a_doubtful_brain_mask_asks_for_review(doubt: dict[str, Any]) -> None:
    found = judge(ALL, brain(**doubt), [], 4.0)
    assert found.verdict is Verdict.NEEDS_REVIEW
    assert len(found.reasons) == 1


def test_one_common_cause_gives_the_refusal_its_code() -> None:
    one = nothing_usable([facts(Modality.T1C, used=False)], [Reason(code="NOT_FINITE", message="t1c: no numbers")])
    assert one.code == "NOT_FINITE"
    several = nothing_usable(ALL[:2], [Reason(code="NOT_FINITE", message="a"), Reason(code="ONE_SLICE", message="b")])
    assert several.code == "NO_USABLE_SEQUENCE"
    assert "a; b" in several.message
    assert nothing_usable([], []).code == "NO_USABLE_SEQUENCE"
