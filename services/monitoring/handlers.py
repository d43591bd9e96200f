"""COMPARE: the current segmentation against the latest one acquired earlier. Volumes only, no response category."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Stage, Verdict
from services.core.contracts.errors import Permanent
from services.core.contracts.events import ManifestRef, StageRequest
from services.core.contracts.facts import CompareFacts, PrepareFacts, SegmentFacts
from services.core.contracts.manifest import Manifest, ModelRef, Reason
from services.core.runtime.settings import affects_result
from services.core.runtime.stage import StageResult, read_manifest
from services.core.runtime.stage_inputs import facts_of, required_input
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.monitoring.domain import change
from services.monitoring.domain.timeline import Timepoint, choose, interval_days, quality_reasons
from services.monitoring.settings import MonitoringSettings

NO_VOLUMES = "No comparison: the segmentation of this study gave no volumes."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The facts and what limits them."""

    facts: CompareFacts
    reasons: tuple[Reason, ...]
    flagged: bool = False


class CompareHandler:
    """The stage handler (`core.runtime.stage.StageHandler`) of the comparison. Keeps nothing between calls."""

    def __init__(self, blobs: BlobStore, settings: MonitoringSettings) -> None:
        self._blobs = blobs
        self._settings_hash = affects_result(settings)
        self._thresholds = change.Thresholds(
            increase_percent=settings.increase_percent,
            decrease_percent=settings.decrease_percent,
            min_ml=settings.min_ml,
        )

    @property
    def stage(self) -> Stage:
        """COMPARE."""
        return Stage.COMPARE

    @property
    def settings_hash(self) -> str:
        """Digest of the thresholds of the wording."""
        return self._settings_hash

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        """None: it compares what others computed."""
        del request
        return ()

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        """The comparison. Raises Transient (blobs), Permanent (inputs that do not fit, a prior of another patient)."""
        segment = read_manifest(self._blobs, required_input(request, "segment"))
        current = self._timepoint(segment, request.input("prepare"))
        checkpoint()
        if current.facts is None:
            return _without_volumes(segment)
        priors = []
        for ref in request.priors():
            priors.append(self._prior(ref, request))
            checkpoint()
        compared = self._compared(current, current.facts, priors)
        return _stated(compared, segment)

    def _compared(self, current: Timepoint, facts: SegmentFacts, priors: list[Timepoint]) -> _Compared:
        choice = choose(current, priors)
        prior = choice.prior
        if prior is None or prior.facts is None:
            return _Compared(facts=CompareFacts(statement=_baseline(bool(priors))), reasons=choice.reasons)
        changes = change.region_changes(facts, prior.facts)
        days = interval_days(current, prior)
        reasons = [*choice.reasons, *quality_reasons(current, prior)]
        if not change.enhancement_comparable(facts, prior.facts):
            reasons.append(Reason(code="T1C_MISSING", message="without T1c in both studies ET and TC are not compared"))
        return _Compared(
            facts=CompareFacts(
                statement=change.statement(changes, _when(prior, days), self._thresholds),
                prior_study=prior.study,
                prior_run=prior.run_id,
                prior_acquired_at=prior.acquired_at,
                interval_days=days,
                changes=changes,
            ),
            reasons=tuple(reasons),
            flagged=prior.verdict is Verdict.NEEDS_REVIEW,
        )

    def _prior(self, ref: ManifestRef, request: StageRequest) -> Timepoint:
        manifest = read_manifest(self._blobs, ref)
        if manifest.study.patient != request.study.patient:
            raise Permanent("PRIOR_OF_OTHER_PATIENT", f"run {ref.run_id} belongs to another patient than the request")
        return self._timepoint(manifest, None)

    def _timepoint(self, segment: Manifest, prepare: ManifestRef | None) -> Timepoint:
        """The acquisition date stands in the preparation that the segmentation started from."""
        named = prepare or next((ref for ref in segment.inputs if ref.role == "prepare"), None)
        prepared = read_manifest(self._blobs, named) if named else None
        dated = prepared is not None and bool(prepared.facts)
        return Timepoint(
            study=segment.study.study,
            run_id=segment.run_id,
            acquired_at=facts_of(PrepareFacts, prepared).acquired_at if prepared and dated else None,
            facts=None if segment.completeness is Completeness.INSUFFICIENT else facts_of(SegmentFacts, segment),
            completeness=segment.completeness,
            verdict=segment.verdict,
            models=segment.models,
        )


def _when(prior: Timepoint, days: int | None) -> str:
    return f"the study of {prior.day} ({'interval unknown' if days is None else f'{days} days earlier'})"


def _baseline(passed_over: bool) -> str:
    return "Baseline: no earlier study that could be compared." if passed_over else change.BASELINE


def _without_volumes(segment: Manifest) -> StageResult:
    reason = Reason(code="NO_SEGMENTATION", message="the segmentation gave no volumes, so there is nothing to compare")
    return StageResult(
        facts=to_document(CompareFacts(statement=NO_VOLUMES)),
        completeness=Completeness.INSUFFICIENT,
        verdict=segment.verdict,
        reasons=(reason,),
    )


def _stated(compared: _Compared, segment: Manifest) -> StageResult:
    reasons = list(compared.reasons)
    if segment.completeness is Completeness.DEGRADED:
        reasons.append(Reason(code="SEGMENTATION_DEGRADED", message="the volumes rest on a degraded segmentation"))
    complete = not reasons
    if segment.verdict is Verdict.NEEDS_REVIEW:
        reasons.append(Reason(code="SEGMENTATION_FLAGGED", message="the volumes rest on a segmentation to be reviewed"))
    flagged = compared.flagged or segment.verdict is Verdict.NEEDS_REVIEW
    return StageResult(
        facts=to_document(compared.facts),
        completeness=Completeness.COMPLETE if complete else Completeness.DEGRADED,
        verdict=Verdict.NEEDS_REVIEW if flagged else Verdict.TRUSTED,
        reasons=tuple(reasons),
    )
