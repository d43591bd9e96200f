from __future__ import annotations

import pytest

from services.core.contracts.enums import Completeness, Modality, Verdict
from services.core.contracts.facts import Decision
from services.core.imaging.labels import REGIONS, Label
from services.reporting.adapters.pdf import words
from services.reporting.adapters.pdf.style import Type

pytestmark = pytest.mark.unit


def test_millilitres_have_one_decimal_and_never_round_a_finding_away() -> None:
    assert [words.millilitres(v) for v in (0.0, 0.01, 0.05, 1.25, 72.34, 1000.0)] == [
        "0.0", "< 0.1", "0.1", "1.2", "72.3", "1000.0",
    ]  # fmt: skip


def test_changes_carry_their_sign_and_zero_has_none() -> None:
    assert [words.signed(v, 1) for v in (2.34, -2.34, 0.0, -0.04)] == ["+2.3", "\u22122.3", "0.0", "0.0"]


def test_what_was_not_measured_is_a_dash() -> None:
    assert words.number(None, 1) == words.number(float("nan"), 1) == words.DASH
    assert words.number(3.14159, 2) == "3.14"


def test_moments_are_iso_dates_with_minutes_where_there_are_any() -> None:
    assert words.moment("2024-03-05T10:15:59") == "2024-03-05 10:15"
    assert words.moment("2024-03-05") == "2024-03-05"
    assert words.moment("spring") == "spring"
    assert words.moment(None) == "not known"
    assert words.day("2024-03-05T10:15:59") == "2024-03-05"


def test_every_state_region_and_sequence_has_a_name() -> None:
    assert set(words.COMPLETENESS) == set(Completeness)
    assert set(words.VERDICTS) == set(Verdict)
    assert set(words.DECISIONS) == set(Decision)
    assert set(words.MODALITY_NAMES) == set(Modality)
    names = {*REGIONS, *(label.name for label in Label if label)}
    assert set(words.REGION_NAMES) == set(words.REGION_PARTS) == names


def test_markup_and_characters_that_the_font_lacks_do_no_harm() -> None:
    type_ = Type()
    assert type_.printable("a \u2264 b \U0001f600 \u4e2d") == "a \u2264 b ? ?"
    assert type_.paragraph("<b>x</b> & <para>").getPlainText() == "<b>x</b> & <para>"
