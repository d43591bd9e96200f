"""One series a slot, and the series that the others are registered to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.core.contracts.enums import Modality
from services.preprocessing.domain.traits import Extent

REFERENCE_ORDER = (Modality.T1C, Modality.T2F, Modality.T1N, Modality.T2W)
"""The enhancing rim is drawn on t1c, the whole tumour on FLAIR: without the first the second leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A readable series that claims a slot. `order`: place in the study, later ones grow."""

    series: str
    modality: Modality
    extent: Extent
    three_d: bool
    original: bool
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen series of each slot, and why each of the others was left."""

    chosen: Mapping[Modality, Candidate]
    left: Mapping[str, str]


def choose(candidates: Sequence[Candidate]) -> Choice:
    """The better series of each slot: original before derived, thinner, 3-D, more slices, later."""
    chosen: dict[Modality, Candidate] = {}
    left: dict[str, str] = {}
    for candidate in candidates:
        rival = chosen.get(candidate.modality)
        if rival is None:
            chosen[candidate.modality] = candidate
            continue
        better, worse = (candidate, rival) if _rank(candidate) > _rank(rival) else (rival, candidate)
        chosen[candidate.modality] = better
        left[worse.series] = (
            f"not used: another series of the study is the better {worse.modality} ({_why(better, worse)})"
        )
    return Choice(chosen=chosen, left=left)


def reference_of(available: Mapping[Modality, object]) -> Modality:
    """The slot whose space the study is prepared in. Raises ValueError when no structural slot is filled."""
    for modality in REFERENCE_ORDER:
        if modality in available:
            return modality
    raise ValueError("no structural sequence")


def _rank(candidate: Candidate) -> tuple[bool, float, bool, int, int]:
    thickness = round(candidate.extent.across_mm, 1)
    return candidate.original, -thickness, candidate.three_d, candidate.extent.slices, candidate.order


def _why(better: Candidate, worse: Candidate) -> str:
    steps = ("original, not derived", "thinner slices", "3-D acquisition", "more slices", "acquired later")
    pairs = zip(_rank(better), _rank(worse), steps, strict=True)
    return next((step for one, other, step in pairs if one != other), "acquired later")
