"""The two events of the bus as frozen records, and the identity of a run.

`wire` converts them to and from protobuf; handlers only ever see these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.core.contracts.enums import BlobClass, Lane, OutcomeStatus, SegmentStep, Stage
from services.core.contracts.ids import (
    BlobDigest,
    JsonValue,
    PatientKey,
    RequestId,
    RunId,
    StudyKey,
    derived_uuid,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A stored object, by content. `size` in bytes."""

    digest: BlobDigest
    size: int
    media_type: str
    blob_class: BlobClass = BlobClass.DERIVED


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRef:
    """One version of one study. Versions count from 1 and only ever grow."""

    patient: PatientKey
    study: StudyKey
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRef:
    """A manifest and the part it plays in a request.

    Roles: intake, prepare, segment, subtype, compare, prior (repeats, oldest acquisition first), predecessor.
    """

    role: str
    run_id: RunId
    blob: BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a stage gave no answer. Texts never hold identity."""

    stage: Stage
    status: OutcomeStatus
    code: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """One stage is asked to run once."""

    request_id: RequestId
    stage: Stage
    study: StudyRef
    lane: Lane
    inputs: tuple[ManifestRef, ...]
    requested_at: datetime
    replay: int = 0
    revision: int = 0
    step: SegmentStep | None = None
    problems: tuple[Problem, ...] = ()

    def input(self, role: str) -> ManifestRef | None:
        """The first input with this role, or None."""
        return next((ref for ref in self.inputs if ref.role == role), None)

    def priors(self) -> tuple[ManifestRef, ...]:
        """Segmentation manifests of earlier studies of the patient, oldest acquisition first."""
        return tuple(ref for ref in self.inputs if ref.role == "prior")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """How one request ended. `manifest` is set when there is a result, `problem` when there is none."""

    request_id: RequestId
    stage: Stage
    study: StudyRef
    lane: Lane
    status: OutcomeStatus
    run_id: RunId
    emitted_at: datetime
    manifest: ManifestRef | None = None
    problem: Problem | None = None


def canonical_request(request: StageRequest) -> JsonValue:
    """What the result depends on: no time, lane, trace or attempt (architecture rule 3)."""
    return {
        "stage": request.stage,
        "study": request.study.study,
        "patient": request.study.patient,
        "version": request.study.version,
        "replay": request.replay,
        "revision": request.revision,
        "step": request.step,
        "inputs": [[ref.role, ref.blob.digest] for ref in request.inputs],
        "problems": [[p.stage, p.status, p.code, p.message, p.advice] for p in request.problems],
    }


def request_id_for(canonical: JsonValue) -> RequestId:
    """Identity of a request: equal questions have one id, so an outbox may send one twice."""
    return RequestId(derived_uuid("request", canonical))


def run_id_for(request: StageRequest, settings_hash: str, model_digests: Sequence[BlobDigest]) -> RunId:
    """UUIDv5 of (stage, canonical request, settings that affect the result, model digests)."""
    return RunId(derived_uuid("run", canonical_request(request), settings_hash, list(model_digests)))
