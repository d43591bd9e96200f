"""What a mask may be called: complete or degraded by its inputs, trusted or to be looked at by a person first.

Nothing here changes a voxel. Each finding is a reason with a stable code and what it does to the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.core.contracts.enums import STRUCTURAL, Completeness, Modality, Verdict
from services.core.contracts.manifest import Manifest, Reason

LEAST_UNREFINED_ML = 0.05
"""Six voxels of 2 mm: what rounds to 0.0 ml limits no result."""
_MISSING = {
    Modality.T1N: "without a T1 before contrast, blood and other bright tissue on T1c can pass for enhancement",
    Modality.T1C: "enhancing tissue cannot be seen without T1 after contrast: ET and TC are not reliable",
    Modality.T2W: "without T2 the border between core and oedema is less certain",
    Modality.T2F: "without FLAIR the extent of oedema and infiltration is not reliable",
}


_ONE_SEQUENCE = Reason(code="ONE_SEQUENCE", message="a single sequence: every border and label rests on it alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From which values on a person looks: mean vacuity in the tumour (0 to 1), whole tumour in ml."""

    vacuity: float
    whole_tumour_ml: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was seen of the result. `unrefined_ml` is coarse tumour outside all fine crops.

    `held_models`: networks that took part and are below their release bar.
    """

    used: tuple[Modality, ...]
    volumes_ml: Mapping[str, float]
    mean_vacuity: float | None
    touches_edge: bool
    unrefined_ml: float = 0.0
    fine_blind: bool = False
    held_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How the manifest speaks of the result."""

    completeness: Completeness
    verdict: Verdict
    reasons: tuple[Reason, ...]


def judge(findings: Findings, prepare: Manifest, limits: Limits) -> Judgement:
    """Limits of the inputs degrade; doubts about the mask ask for review. Reasons of the preparation come first."""
    inherited = prepare.reasons if prepare.completeness is not Completeness.COMPLETE else ()
    degrading = [*_inputs(findings), *_steps(findings)]
    doubts = list(_doubts(findings, limits))
    if prepare.verdict is Verdict.NEEDS_REVIEW:
        inherited = prepare.reasons
        doubts.append(
            Reason(code="PREPARATION_FLAGGED", message="the preparation, such as its brain mask, needs review")
        )
    degraded = bool(degrading) or prepare.completeness is not Completeness.COMPLETE
    return Judgement(
        completeness=Completeness.DEGRADED if degraded else Completeness.COMPLETE,
        verdict=Verdict.NEEDS_REVIEW if doubts else Verdict.TRUSTED,
        reasons=_once([*inherited, *degrading, *doubts]),
    )


def flags(findings: Findings, limits: Limits) -> tuple[Reason, ...]:
    """Only the doubts about the mask itself: what asks for review whatever the preparation said."""
    return tuple(_doubts(findings, limits))


def insufficient(prepare: Manifest) -> Judgement:
    """There is no sequence that the network could look at."""
    nothing = Reason(code="NO_SEQUENCE", message="no sequence could be prepared: there is nothing to segment")
    return Judgement(
        completeness=Completeness.INSUFFICIENT, verdict=prepare.verdict, reasons=_once([*prepare.reasons, nothing])
    )


def _inputs(findings: Findings) -> Iterable[Reason]:
    present = set(findings.used)
    for slot in STRUCTURAL:
        if slot not in present:
            yield Reason(code=f"{slot.name}_MISSING", message=_MISSING[slot])
    if len(present) == 1:
        yield _ONE_SEQUENCE


def _steps(findings: Findings) -> Iterable[Reason]:
    if findings.fine_blind:
        yield Reason(code="COARSE_ONLY", message="no structural sequence: the mask is the coarse one, of 2 mm voxels")
    if findings.unrefined_ml >= LEAST_UNREFINED_ML:
        yield Reason(
            code="PARTLY_COARSE",
            message=f"{findings.unrefined_ml:.1f} ml of the tumour lie outside the fine crops, at 2 mm only",
        )


def _doubts(findings: Findings, limits: Limits) -> Iterable[Reason]:
    vacuity, whole = findings.mean_vacuity, findings.volumes_ml.get("WT", 0.0)
    if findings.held_models:
        names = ", ".join(findings.held_models)
        yield Reason(
            code="MODEL_BELOW_BAR",
            message=f"{names} is below its release bar on phantoms: borders and volumes can be far off",
        )
    if vacuity is not None and vacuity > limits.vacuity:
        yield Reason(
            code="UNCERTAIN_MASK",
            message=f"mean vacuity {vacuity:.2f} in the tumour, above {limits.vacuity:.2f}: the network hardly knows",
        )
    if len(set(findings.used)) == 1 and whole > 0:
        yield _ONE_SEQUENCE
    if whole > limits.whole_tumour_ml:
        yield Reason(
            code="IMPLAUSIBLE_VOLUME", message=f"{whole:.0f} ml of tumour are more than {limits.whole_tumour_ml:.0f} ml"
        )
    if findings.touches_edge:
        yield Reason(
            code="TOUCHES_BOX_EDGE", message="the mask reaches the edge of the box: part of it may lie outside"
        )


def _once(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    by_code: dict[str, Reason] = {}
    for reason in reasons:
        by_code.setdefault(reason.code, reason)
    return tuple(by_code.values())
