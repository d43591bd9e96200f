"""Changes in words: thresholds, small and vanished volumes, and never a response category."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.contracts.enums import STRUCTURAL, SegmentStep
from services.core.contracts.facts import SegmentFacts
from services.core.imaging.labels import LABEL_SCHEMA
from services.monitoring.domain.change import NO_CATEGORY, Thresholds, region_changes, statement

pytestmark = pytest.mark.unit

THRESHOLDS = Thresholds(increase_percent=40.0, decrease_percent=65.0, min_ml=0.5)
CATEGORY = re.compile(
    r"\b(progressive|progression|stable disease|partial|complete) ?(disease|response)?\b|\b[PSC][DR]\b"
)


def _facts(**volumes: float) -> SegmentFacts:
    return SegmentFacts(
        label_schema=LABEL_SCHEMA,
        step=SegmentStep.BOTH,
        volumes_ml=volumes,
        used=STRUCTURAL,
        gates={},
        markers=(),
        mean_vacuity=None,
        centroid_ras_mm=None,
    )


def _words(then: float, now: float) -> str:
    return statement(region_changes(_facts(ET=now), _facts(ET=then)), "then", THRESHOLDS)


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (10.0, 14.0, "increased by 40 % (10.0 to 14.0 ml), at or above the 40 % volumetric threshold for an increase"),
        (10.0, 13.9, "increased by 39 % (10.0 to 13.9 ml), below the volumetric thresholds"),
        (10.0, 3.5, "decreased by 65 % (10.0 to 3.5 ml), at or above the 65 % volumetric threshold for a decrease"),
        (10.0, 3.6, "decreased by 64 % (10.0 to 3.6 ml), below the volumetric thresholds"),
        (10.0, 10.02, "did not change (10.0 to 10.0 ml), below the volumetric thresholds"),
        (0.0, 2.0, "is new (0.0 to 2.0 ml)"),
        (5e-324, 2.0, "is new (0.0 to 2.0 ml)"),
        (2.0, 0.0, "is no longer seen (2.0 to 0.0 ml)"),
        (0.0, 0.0, "was and is absent"),
        (0.1, 0.3, "stayed below 0.5 ml (0.10 to 0.30 ml), too little for a percentage"),
    ],
)
def test_a_change_is_said_plainly(then: float, now: float, said: str) -> None:
    assert f"Enhancing volume (ET) {said}." in _words(then, now)


@given(then=st.floats(0, 500), now=st.floats(0, 500))
def test_no_change_is_ever_called_a_response(then: float, now: float) -> None:
    words = _words(then, now)
    assert words.endswith(NO_CATEGORY)
    assert not CATEGORY.search(words)


@given(then=st.floats(0.01, 500), now=st.floats(0, 500))
def test_percentages_are_of_the_earlier_volume(then: float, now: float) -> None:
    (change,) = region_changes(_facts(ET=now), _facts(ET=then))
    assert change.change_percent == pytest.approx(100 * (now - then) / then, abs=0.06)


def test_from_nothing_there_is_no_percentage() -> None:
    (change,) = region_changes(_facts(ET=3.0), _facts(ET=0.0))
    assert change.change_percent is None
