"""Calibration, abstention and wording, as rules over numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.contracts.enums import Marker
from services.core.contracts.facts import Decision, MarkerEvidence, MarkerFacts
from services.core.contracts.ids import JsonValue
from services.molecular_subtyping.bootstrap import shipped_calibration
from services.molecular_subtyping.domain.calibration import Scaling, calibration_from, opinion
from services.molecular_subtyping.domain.decisions import Thresholds, decide, none_available
from services.molecular_subtyping.domain.who import CONTRADICTION, NOT_ENOUGH, NOTHING_DECIDED, who_2021

pytestmark = pytest.mark.unit

IDENTITY = Scaling(temperature=1.0, bias=0.0)
amounts = st.floats(0, 1e6, allow_nan=False)
evidences = st.builds(MarkerEvidence, marker=st.just("idh"), absent=amounts, present=amounts)
thresholds = st.builds(
    Thresholds, max_vacuity=st.floats(0, 1), min_distance=st.floats(0, 0.5), silent=st.just(frozenset[Marker]())
)
DECIDED = {Decision.POSITIVE, Decision.NEGATIVE}


def _idh(evidence: MarkerEvidence, when: Thresholds) -> Decision:
    return decide([evidence], shipped_calibration(), when)[0].decision


def test_no_evidence_is_half_and_all_unknown() -> None:
    nothing = opinion(MarkerEvidence(marker="idh", absent=0, present=0), IDENTITY)
    assert (nothing.probability, nothing.vacuity) == (0.5, 1.0)


@given(evidence=evidences)
def test_identity_calibration_gives_the_expected_probability_of_the_dirichlet(evidence: MarkerEvidence) -> None:
    held = opinion(evidence, IDENTITY)
    expected = (evidence.present + 1) / (evidence.present + evidence.absent + 2)
    assert held.probability == pytest.approx(expected, abs=1e-9)
    assert 0 < held.vacuity <= 1


@given(evidence=evidences, temperature=st.floats(1, 20))
def test_a_higher_temperature_never_makes_surer(evidence: MarkerEvidence, temperature: float) -> None:
    cooled = opinion(evidence, Scaling(temperature=temperature, bias=0.0))
    assert abs(cooled.probability - 0.5) <= abs(opinion(evidence, IDENTITY).probability - 0.5) + 1e-12


@given(evidence=evidences, when=thresholds, vacuity=st.floats(0, 1), distance=st.floats(0, 0.5))
def test_stricter_thresholds_never_decide_more(
    evidence: MarkerEvidence, when: Thresholds, vacuity: float, distance: float
) -> None:
    stricter = replace(when, max_vacuity=min(when.max_vacuity, vacuity), min_distance=max(when.min_distance, distance))
    if _idh(evidence, stricter) in DECIDED:
        assert _idh(evidence, when) is _idh(evidence, stricter)


@given(absent=amounts, present=amounts, more=amounts, when=thresholds)
def test_more_evidence_for_the_same_side_never_turns_a_decision_into_an_abstention(
    absent: float, present: float, more: float, when: Thresholds
) -> None:
    before = _idh(MarkerEvidence(marker="idh", absent=absent, present=present), when)
    if before is Decision.POSITIVE:
        assert _idh(MarkerEvidence(marker="idh", absent=absent, present=present + more), when) is Decision.POSITIVE


@given(evidence=evidences)
def test_a_silent_marker_never_decides(evidence: MarkerEvidence) -> None:
    when = Thresholds(max_vacuity=1.0, min_distance=0.0, silent=frozenset({Marker.IDH}))
    assert _idh(evidence, when) is Decision.ABSTAINED


def test_a_marker_that_the_model_does_not_name_is_not_available() -> None:
    when = Thresholds(max_vacuity=1.0, min_distance=0.0, silent=frozenset())
    facts = decide([], shipped_calibration(), when)
    assert {fact.decision for fact in facts} == {Decision.NOT_AVAILABLE}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "other"},
        {"markers": {"idh": {"temperature": 0.0, "bias": 0.0}}},
        {"markers": {"idh": {"temperature": 1.0}}},
        {"extra": 1},
    ],
)
def test_a_damaged_calibration_table_is_refused(change: dict[str, JsonValue]) -> None:
    good: dict[str, JsonValue] = {
        "schema": "glioserve.calibration.v1",
        "version": "v",
        "fitted_on": None,
        "markers": {"idh": {"temperature": 1.0, "bias": 0.0}},
    }
    assert calibration_from(good).version == "v"
    with pytest.raises(ValueError, match=r"."):
        calibration_from({**good, **change})


def _facts(**decided: bool | None) -> list[MarkerFacts]:
    word = {True: Decision.POSITIVE, False: Decision.NEGATIVE, None: Decision.ABSTAINED}
    return [
        MarkerFacts(marker=Marker(name), decision=word[value], probability=None, statement="")
        for name, value in decided.items()
    ]


@pytest.mark.parametrize(
    ("idh", "codel", "h3", "said"),
    [
        (True, True, None, "oligodendroglioma, IDH-mutant and 1p/19q-codeleted"),
        (True, False, False, "astrocytoma, IDH-mutant"),
        (True, None, None, "an IDH-mutant diffuse glioma"),
        (False, None, None, "an IDH-wildtype diffuse glioma"),
        (False, False, True, "diffuse midline glioma, H3 K27-altered"),
        (None, None, True, "diffuse midline glioma, H3 K27-altered"),
    ],
)
def test_decided_markers_are_worded(idh: bool | None, codel: bool | None, h3: bool | None, said: str) -> None:
    sentence = who_2021(_facts(idh=idh, codel_1p19q=codel, h3k27m=h3))
    assert sentence.startswith(f"Imaging suggests {said}")
    assert sentence.endswith("tissue confirmation needed.")


def test_no_combination_of_answers_is_worded_as_a_diagnosis() -> None:
    for idh, codel, h3 in itertools.product((True, False, None), repeat=3):
        sentence = who_2021(_facts(idh=idh, codel_1p19q=codel, h3k27m=h3, mgmt=True))
        assert sentence.startswith(("Imaging suggests ", "No WHO-2021 type is suggested"))
        if idh and h3:
            assert sentence == CONTRADICTION


def test_what_was_not_decided_suggests_nothing() -> None:
    assert who_2021(none_available("no tumour was found")) == NOTHING_DECIDED
    assert who_2021(_facts(codel_1p19q=True)) == NOT_ENOUGH
