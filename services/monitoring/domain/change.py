"""What changed between two segmentations, in numbers and in words.

The words are those of RANO 2.0 (Wen et al., J Clin Oncol 41 (2023) 5187) as far as volumes alone can speak: an increase
of 40 % and a decrease of 65 % are its volumetric thresholds. A response category is never given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.contracts.enums import Modality
from services.core.contracts.facts import RegionChange, SegmentFacts

NO_CATEGORY = (
    "RANO category not available: it needs baseline or nadir, clinical status, steroid dose and measured lesions."
)
BASELINE = "Baseline: no earlier study of this patient to compare with."
LEAST_ML = 0.001
"""One voxel of 1 mm: of less nothing can be a percentage."""
_NAMES = {"ET": "Enhancing volume", "TC": "Tumour core", "WT": "Whole tumour"}
_NEEDS_T1C = frozenset({"ET", "TC"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Changes worth naming, percent, and the volume below which a percentage says nothing, ml."""

    increase_percent: float
    decrease_percent: float
    min_ml: float


def enhancement_comparable(current: SegmentFacts, prior: SegmentFacts) -> bool:
    """True when both studies had T1 after contrast: else ET and TC are not seen, then their change means nothing."""
    return Modality.T1C in current.used and Modality.T1C in prior.used


def region_changes(current: SegmentFacts, prior: SegmentFacts) -> tuple[RegionChange, ...]:
    """Per comparable region the volume then and now, ml, and the change in percent of then."""
    seen = enhancement_comparable(current, prior)
    return tuple(
        _change(region, prior.volumes_ml[region], current.volumes_ml[region])
        for region in _NAMES
        if (seen or region not in _NEEDS_T1C) and region in prior.volumes_ml and region in current.volumes_ml
    )


def statement(changes: Sequence[RegionChange], when: str, thresholds: Thresholds) -> str:
    """One sentence a region and the standing sentence that this is no response category. `when` names the prior."""
    sentences = [f"Compared with {when}."]
    sentences += [f"{_sentence(change, thresholds)}." for change in changes]
    if not any(change.region in _NEEDS_T1C for change in changes):
        sentences.append("Enhancing volume is not comparable: T1 after contrast is missing in one of the studies.")
    return " ".join([*sentences, NO_CATEGORY])


def _change(region: str, prior_ml: float, current_ml: float) -> RegionChange:
    percent = round(100.0 * (current_ml - prior_ml) / prior_ml, 1) if prior_ml >= LEAST_ML else None
    return RegionChange(region=region, prior_ml=prior_ml, current_ml=current_ml, change_percent=percent)


def _sentence(change: RegionChange, thresholds: Thresholds) -> str:
    name, then, now = f"{_NAMES[change.region]} ({change.region})", change.prior_ml, change.current_ml
    span = f"{then:.1f} to {now:.1f} ml"
    if max(then, now) == 0:
        return f"{name} was and is absent"
    if max(then, now) < thresholds.min_ml:
        return f"{name} stayed below {thresholds.min_ml:g} ml ({then:.2f} to {now:.2f} ml), too little for a percentage"
    if change.change_percent is None:
        return f"{name} is new ({span})"
    if now == 0:
        return f"{name} is no longer seen ({span})"
    return f"{name} {_direction(change.change_percent)} ({span}){_against(change.change_percent, thresholds)}"


def _direction(percent: float) -> str:
    if round(percent) == 0:
        return "did not change"
    return f"{'increased' if percent > 0 else 'decreased'} by {abs(percent):.0f} %"


def _against(percent: float, thresholds: Thresholds) -> str:
    if percent >= thresholds.increase_percent:
        return f", at or above the {thresholds.increase_percent:g} % volumetric threshold for an increase"
    if -percent >= thresholds.decrease_percent:
        return f", at or above the {thresholds.decrease_percent:g} % volumetric threshold for a decrease"
    return ", below the volumetric thresholds"
