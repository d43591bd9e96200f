"""Decide or abstain, marker by marker. Abstaining is the normal answer; a decision has to earn its place.

Decided only when little is unknown (vacuity) and the calibrated probability is far from 0.5. MGMT is not decided from
images by default: the best public models reach an AUC of about 0.6 on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.core.contracts.enums import Marker
from services.core.contracts.facts import Decision, MarkerEvidence, MarkerFacts
from services.molecular_subtyping.domain.calibration import Calibration, Opinion, opinion

TITLES: Mapping[Marker, str] = {
    Marker.IDH: "IDH mutation",
    Marker.CODEL_1P19Q: "1p/19q codeletion",
    Marker.MGMT: "MGMT promoter methylation",
    Marker.H3K27M: "H3 K27M mutation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When an opinion becomes a decision. `silent` markers are never decided."""

    max_vacuity: float
    min_distance: float
    silent: frozenset[Marker]


def decide(
    evidence: Iterable[MarkerEvidence], calibration: Calibration, thresholds: Thresholds
) -> tuple[MarkerFacts, ...]:
    """One answer a marker, in fixed order; a marker without evidence or without calibration is not available."""
    by_name = {item.marker: item for item in evidence}
    return tuple(_answer(marker, by_name.get(marker), calibration, thresholds) for marker in Marker)


def none_available(why: str) -> tuple[MarkerFacts, ...]:
    """Every marker not available, for one reason."""
    return tuple(_unavailable(marker, why) for marker in Marker)


def _answer(
    marker: Marker, evidence: MarkerEvidence | None, calibration: Calibration, thresholds: Thresholds
) -> MarkerFacts:
    scaling = calibration.markers.get(marker)
    if evidence is None or scaling is None:
        return _unavailable(marker, "the model gives no evidence on it")
    held = opinion(evidence, scaling)
    doubt = _doubt(marker, held, thresholds)
    decision = Decision.ABSTAINED if doubt else Decision.POSITIVE if held.probability > 0.5 else Decision.NEGATIVE
    return MarkerFacts(
        marker=marker,
        decision=decision,
        probability=round(held.probability, 4),
        statement=_statement(marker, decision, doubt),
    )


def _doubt(marker: Marker, held: Opinion, thresholds: Thresholds) -> str | None:
    if marker in thresholds.silent:
        return "images do not predict it well enough to be of use"
    if held.vacuity > thresholds.max_vacuity:
        return f"too little evidence (vacuity {held.vacuity:.2f})"
    if abs(held.probability - 0.5) < thresholds.min_distance or held.probability == 0.5:
        return f"the evidence does not point one way (probability {held.probability:.2f})"
    return None


def _statement(marker: Marker, decision: Decision, doubt: str | None) -> str:
    if doubt:
        return f"{TITLES[marker]}: not decided, {doubt}."
    present = "present" if decision is Decision.POSITIVE else "absent"
    return f"{TITLES[marker]}: imaging suggests that it is {present}; tissue confirmation needed."


def _unavailable(marker: Marker, why: str) -> MarkerFacts:
    return MarkerFacts(
        marker=marker,
        decision=Decision.NOT_AVAILABLE,
        probability=None,
        statement=f"{TITLES[marker]}: not available, {why}.",
    )
