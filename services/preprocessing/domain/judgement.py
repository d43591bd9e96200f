"""What a preparation can promise: which sequences are missing or poor, what that does, what a person must look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from services.core.contracts.enums import STRUCTURAL, Completeness, Modality, Verdict
from services.core.contracts.errors import Refused
from services.core.contracts.facts import SeriesFacts
from services.core.contracts.manifest import Reason

SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 600.0, 2200.0
MOVED = 0.6

_MISSING: Mapping[Modality, str] = MappingProxyType(
    {
        Modality.T1N: "no T1 before contrast: blood and other bright matter can pass for enhancement",
        Modality.T1C: "no T1 after contrast: enhancing tumour and necrosis cannot be told apart reliably",
        Modality.T2W: "no T2: cysts and the outer border of the tumour are less certain",
        Modality.T2F: "no FLAIR: the extent of the infiltrated zone is uncertain",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brain:
    """What is known of the brain mask: volume, how it was made, whether it meets an edge of the reference's field."""

    volume_ml: float
    stripped: bool
    cut_off: bool
    outside_box_ml: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How the manifest speaks of the preparation."""

    completeness: Completeness
    verdict: Verdict
    reasons: tuple[Reason, ...]


def judge(series: Sequence[SeriesFacts], brain: Brain, problems: Sequence[Reason], thick_mm: float) -> Judgement:
    """Missing and poor inputs degrade; a doubtful brain mask asks for a person's eye."""
    degrading = [*problems, *limits_of(series, thick_mm)]
    doubts = list(_doubts(brain))
    return Judgement(
        completeness=Completeness.DEGRADED if degrading or doubts else Completeness.COMPLETE,
        verdict=Verdict.NEEDS_REVIEW if doubts else Verdict.TRUSTED,
        reasons=_once([*degrading, *doubts]),
    )


def limits_of(series: Sequence[SeriesFacts], thick_mm: float) -> tuple[Reason, ...]:
    """What missing and poor sequences do to a result."""
    return (*_missing(series), *_poor(series, thick_mm))


def nothing_usable(series: Sequence[SeriesFacts], problems: Sequence[Reason]) -> Refused:
    """Why no sequence of the study can be used. The code is the one common cause, else NO_USABLE_SEQUENCE."""
    codes = {problem.code for problem in problems}
    causes = [problem.message for problem in problems] or [facts.reason for facts in series]
    return Refused(
        codes.pop() if len(codes) == 1 and len(problems) == len(series) else "NO_USABLE_SEQUENCE",
        f"no sequence of the study can be used: {'; '.join(dict.fromkeys(causes))[:600] or 'there is none'}",
        "Send at least one of T1, T1 with contrast, T2 and FLAIR as a volume of the head.",
    )


def _missing(series: Sequence[SeriesFacts]) -> Iterable[Reason]:
    used = {facts.modality for facts in series if facts.used}
    for slot in STRUCTURAL:
        if slot not in used:
            yield Reason(code=f"{slot.name}_MISSING", message=_MISSING[slot])
    if len(used) == 1:
        yield Reason(code="ONE_SEQUENCE", message="a single sequence: every border and label rests on it alone")


def _poor(series: Sequence[SeriesFacts], thick_mm: float) -> Iterable[Reason]:
    for facts in series:
        if not facts.used:
            continue
        if facts.slice_thickness_mm is not None and facts.slice_thickness_mm > thick_mm:
            yield Reason(
                code=f"{_name(facts)}_THICK_SLICES",
                message=f"{facts.modality}: slices of {facts.slice_thickness_mm:.1f} mm blur borders across them",
            )
        if facts.motion is not None and facts.motion > MOVED:
            yield Reason(
                code=f"{_name(facts)}_MOTION",
                message=f"{facts.modality}: smeared along one direction, as by motion; borders are less certain",
            )


def _doubts(brain: Brain) -> Iterable[Reason]:
    if not SMALLEST_BRAIN_ML <= brain.volume_ml <= LARGEST_BRAIN_ML:
        yield Reason(
            code="BRAIN_VOLUME_IMPLAUSIBLE",
            message=f"the brain mask has {brain.volume_ml:.0f} ml: intensities and tumour borders may be wrong",
        )
    if brain.cut_off:
        yield Reason(
            code="BRAIN_CUT_OFF", message="the brain meets the edge of the images: tumour beyond it is not seen"
        )
    if brain.outside_box_ml > 1.0:
        yield Reason(
            code="BRAIN_LARGER_THAN_BOX",
            message=f"{brain.outside_box_ml:.0f} ml of the brain lie outside the box that the models see",
        )


def _name(facts: SeriesFacts) -> str:
    return facts.modality.name if facts.modality else "SERIES"


def _once(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    return tuple({reason.code: reason for reason in reversed(list(reasons))}.values())[::-1]
