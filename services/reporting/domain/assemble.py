"""The one result of a study from its evidence (rules 8 and 9): every other format only renders what this returns.

No preparation or no segmentation: insufficient, no number at all. No markers or no comparison: degraded.
"""

from __future__ import annotations

from services.core.contracts.enums import Completeness, OutcomeStatus, Stage, Verdict
from services.core.contracts.events import Problem, StageRequest
from services.core.contracts.ids import BlobDigest
from services.core.contracts.manifest import Manifest, ModelRef, Reason
from services.core.contracts.result_model import REPORT_SCHEMA, Sequence, StudyResult
from services.reporting.domain.evidence import Evidence

STAGES = (Stage.PREPARE, Stage.SEGMENT, Stage.SUBTYPE, Stage.COMPARE)
ESSENTIAL = (Stage.PREPARE, Stage.SEGMENT)

_DUTY = {
    Stage.PREPARE: "The preparation of the images",
    Stage.SEGMENT: "The segmentation of the tumour",
    Stage.SUBTYPE: "The estimation of molecular markers",
    Stage.COMPARE: "The comparison with earlier studies",
}
_EFFECT = {
    Stage.PREPARE: "Nothing was measured.",
    Stage.SEGMENT: "Nothing was measured.",
    Stage.SUBTYPE: "Markers are not available.",
    Stage.COMPARE: "Change over time is not available.",
}
_ENDED = {OutcomeStatus.REFUSED: "was refused", OutcomeStatus.FAILED: "failed"}


def assemble(
    request: StageRequest,
    evidence: Evidence,
    lineage: BlobDigest,
    *,
    lost: tuple[Reason, ...] = (),
    remarks: tuple[Reason, ...] = (),
) -> StudyResult:
    """The result. `lost` names outputs that could not be made (degrades), `remarks` what the reader should know."""
    completeness = _completeness(evidence, lost)
    facts = evidence if completeness is not Completeness.INSUFFICIENT else None
    segment = facts.segment if facts else None
    subtype = facts.subtype if facts else None
    predecessor = evidence.manifests.get("predecessor")
    return StudyResult(
        schema=REPORT_SCHEMA,
        patient=request.study.patient,
        study=request.study.study,
        version=request.study.version,
        revision=request.revision,
        predecessor=predecessor.run_id if predecessor else None,
        acquired_at=_acquired_at(evidence),
        completeness=completeness,
        verdict=_verdict(evidence),
        reasons=(*_reasons(evidence), *lost, *remarks),
        reference=evidence.prepare.reference if evidence.prepare else None,
        sequences=_sequences(evidence, with_quality=facts is not None),
        label_schema=segment.label_schema if segment else None,
        volumes_ml=dict(segment.volumes_ml) if segment else None,
        mean_vacuity=segment.mean_vacuity if segment else None,
        markers=subtype.markers if subtype else (),
        who_2021=subtype.who_2021 if subtype else None,
        comparison=facts.compare if facts else None,
        models=_models(evidence),
        lineage=lineage,
    )


def _completeness(evidence: Evidence, lost: tuple[Reason, ...]) -> Completeness:
    if not evidence.measurable:
        return Completeness.INSUFFICIENT
    poor = any(
        role != "predecessor" and manifest.completeness is not Completeness.COMPLETE
        for role, manifest in evidence.manifests.items()
    )
    missing = any(stage not in evidence.manifests for stage in STAGES)
    return Completeness.DEGRADED if poor or missing or lost or evidence.problems else Completeness.COMPLETE


def _verdict(evidence: Evidence) -> Verdict:
    flagged = any(
        role != "predecessor" and manifest.verdict is Verdict.NEEDS_REVIEW
        for role, manifest in evidence.manifests.items()
    )
    return Verdict.NEEDS_REVIEW if flagged else Verdict.TRUSTED


def _reasons(evidence: Evidence) -> tuple[Reason, ...]:
    intake = evidence.manifests.get("intake")
    found = list(intake.reasons) if intake else []
    for stage in STAGES:
        manifest, problem = evidence.manifests.get(stage), evidence.problem(stage)
        if problem is not None:
            found.append(_of_problem(problem))
        if manifest is not None:
            found.extend(_of_manifest(stage, manifest))
        elif problem is None and (evidence.measurable or not found):
            found.append(
                Reason(code=f"{stage.upper()}_MISSING", message=f"{_DUTY[stage]} gave no answer. {_EFFECT[stage]}")
            )
    return tuple(dict.fromkeys(found))


def _of_manifest(stage: Stage, manifest: Manifest) -> tuple[Reason, ...]:
    silent = manifest.completeness is Completeness.INSUFFICIENT and not manifest.reasons
    if silent:
        return (Reason(code=f"{stage.upper()}_INSUFFICIENT", message=f"{_DUTY[stage]} gave no usable result."),)
    return manifest.reasons


def _of_problem(problem: Problem) -> Reason:
    duty = _DUTY.get(problem.stage, f"The stage {problem.stage}")
    ended = _ENDED.get(problem.status, "gave no result")
    sentences = (f"{duty} {ended}: {problem.message}", problem.advice, _EFFECT.get(problem.stage, ""))
    return Reason(code=problem.code, message=" ".join(_sentence(text) for text in sentences if text))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _acquired_at(evidence: Evidence) -> str | None:
    if evidence.prepare is not None:
        return evidence.prepare.acquired_at
    return evidence.intake.acquired_at if evidence.intake else None


def _sequences(evidence: Evidence, *, with_quality: bool) -> tuple[Sequence, ...]:
    if evidence.prepare is None:
        intake = evidence.intake.series if evidence.intake else ()
        return tuple(
            Sequence(series=item.series, modality=item.modality, used=False, reason="received, not prepared")
            for item in intake
        )
    return tuple(
        Sequence(
            series=item.series,
            modality=item.modality,
            used=item.used,
            reason=item.reason,
            spacing_mm=item.spacing_mm if with_quality else None,
            log_snr=item.log_snr if with_quality else None,
            motion=item.motion if with_quality else None,
            slice_thickness_mm=item.slice_thickness_mm if with_quality else None,
        )
        for item in evidence.prepare.series
    )


def _models(evidence: Evidence) -> tuple[ModelRef, ...]:
    manifests = (evidence.manifests[stage] for stage in STAGES if stage in evidence.manifests)
    return tuple(dict.fromkeys(model for manifest in manifests for model in manifest.models))
