"""SUBTYPE: from the marker evidence of a segmentation to decisions, abstentions and WHO-2021 wording.

There is no second forward pass: the evidence stands in the segmentation's facts.
"""

from __future__ import annotations

import hashlib

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Stage, Verdict
from services.core.contracts.events import StageRequest
from services.core.contracts.facts import MarkerFacts, SegmentFacts, SubtypeFacts
from services.core.contracts.ids import JsonValue, canonical_json
from services.core.contracts.manifest import Manifest, ModelRef, Reason
from services.core.runtime.settings import affects_result
from services.core.runtime.stage import StageResult, read_manifest
from services.core.runtime.stage_inputs import facts_of, required_input
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.molecular_subtyping.domain.calibration import Calibration
from services.molecular_subtyping.domain.decisions import Thresholds, decide, none_available
from services.molecular_subtyping.domain.who import who_2021
from services.molecular_subtyping.settings import SubtypeSettings


class SubtypeHandler:
    """The stage handler (`core.runtime.stage.StageHandler`) of the subtyping. Keeps nothing between calls."""

    def __init__(self, blobs: BlobStore, calibration: Calibration, settings: SubtypeSettings) -> None:
        self._blobs = blobs
        self._calibration = calibration
        self._thresholds = Thresholds(
            max_vacuity=settings.max_vacuity,
            min_distance=settings.min_distance,
            silent=settings.silent,
        )
        document: list[JsonValue] = [affects_result(settings), to_document(calibration)]
        self._settings_hash = hashlib.sha256(canonical_json(document)).hexdigest()

    @property
    def stage(self) -> Stage:
        """SUBTYPE."""
        return Stage.SUBTYPE

    @property
    def settings_hash(self) -> str:
        """Digest of the thresholds and of the whole calibration table."""
        return self._settings_hash

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        """None: the segmentation's models stand in its own manifest."""
        del request
        return ()

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        """Decisions on the markers. Raises Transient (blobs) or Permanent (inputs that do not fit)."""
        segment = read_manifest(self._blobs, required_input(request, "segment"))
        checkpoint()
        markers = self._markers(segment)
        facts = SubtypeFacts(markers=markers, who_2021=who_2021(markers), calibration_version=self._calibration.version)
        return StageResult(
            facts=to_document(facts),
            completeness=segment.completeness,
            verdict=segment.verdict,
            reasons=_reasons(segment),
        )

    def _markers(self, segment: Manifest) -> tuple[MarkerFacts, ...]:
        if segment.completeness is Completeness.INSUFFICIENT:
            return none_available("there is no segmentation")
        facts = facts_of(SegmentFacts, segment)
        if not facts.volumes_ml.get("WT", 0.0) > 0:
            return none_available("no tumour was found")
        return decide(facts.markers, self._calibration, self._thresholds)


def _reasons(segment: Manifest) -> tuple[Reason, ...]:
    """The evidence is as good as the segmentation that it comes from."""
    reasons = []
    if segment.completeness is Completeness.INSUFFICIENT:
        reasons.append(Reason(code="NO_SEGMENTATION", message="no segmentation, so nothing can be said about markers"))
    elif segment.completeness is Completeness.DEGRADED:
        reasons.append(Reason(code="SEGMENTATION_DEGRADED", message="the markers rest on a degraded segmentation"))
    if segment.verdict is Verdict.NEEDS_REVIEW:
        reasons.append(Reason(code="SEGMENTATION_FLAGGED", message="the markers rest on a segmentation to be reviewed"))
    return tuple(reasons)
