"""One run of one stage: identity, attempts, manifest, outcome (architecture rule 3). Both doors of a stage call `run`.

Named documents of a run: `runs/<run_id>` (the manifest, first one wins), `runs/<run_id>.attempt-N` at each start and
`runs/<run_id>.attempt-N.ended` when it ended in a classed error or a drain. Starts without an end count as crashes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.core.contracts.enums import Completeness, Lane, OutcomeStatus, Stage, Verdict
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.contracts.events import (
    BlobRef,
    ManifestRef,
    Problem,
    StageOutcome,
    StageRequest,
    run_id_for,
)
from services.core.contracts.ids import BlobDigest, JsonValue, RunId
from services.core.contracts.manifest import MANIFEST_MEDIA_TYPE, Manifest, ModelRef, Reason
from services.core.runtime.clock import Clock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.core.telemetry.metrics import Metrics

MAX_CRASHES = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a handler computed; the run wraps it into the manifest. Blobs named in `outputs` are stored already."""

    outputs: Mapping[str, BlobRef] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    completeness: Completeness = Completeness.COMPLETE
    verdict: Verdict = Verdict.TRUSTED
    reasons: tuple[Reason, ...] = ()


class StageHandler(Protocol):
    """A stage: a pure function of request, settings and models. Keeps nothing between calls."""

    @property
    def stage(self) -> Stage:
        """Which requests it answers."""

    @property
    def settings_hash(self) -> str:
        """Digest of the settings that affect results."""

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        """Models this request would use; their digests are part of the run's identity. Raises Transient."""

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        """Computes. Calls `checkpoint` between steps of at most 2 s. Raises Transient, Permanent or Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """What a run needs from outside."""

    blobs: BlobStore
    clock: Clock
    failpoints: Failpoints
    metrics: Metrics


def read_manifest(blobs: BlobStore, ref: ManifestRef) -> Manifest:
    """The manifest behind a reference. Raises Transient when it is not there yet, Permanent when it is damaged."""
    try:
        return Manifest.from_bytes(blobs.read(ref.blob))
    except ValueError as error:
        raise Permanent("MANIFEST_UNREADABLE", f"manifest {ref.run_id} cannot be read: {error}") from error


def store_manifest(blobs: BlobStore, role: str, manifest: Manifest) -> ManifestRef:
    """Stores a manifest under its run id; the first one wins. Gives the reference of the one that stands there."""
    winner = blobs.put_named(f"runs/{manifest.run_id}", manifest.to_bytes())
    return ManifestRef(role=role, run_id=manifest.run_id, blob=blobs.put(winner, MANIFEST_MEDIA_TYPE))


def run(handler: StageHandler, request: StageRequest, ports: RunPorts, checkpoint: Checkpoint) -> StageOutcome:
    """Runs a request to its outcome, or finds the outcome of the run that was there before.

    Raises Transient when it should be tried again, Permanent when it must go to the dead letters (also after
    `MAX_CRASHES` starts without an end); a refusal is an outcome, not an error. Other exceptions are bugs.
    """
    models = handler.models(request)
    run_id = run_id_for(request, handler.settings_hash, [BlobDigest(model.digest) for model in models])
    known = ports.blobs.read_named(f"runs/{run_id}")
    if known is not None and _stands(manifest := Manifest.from_bytes(known), ports.blobs):
        ref = ManifestRef(role=request.stage, run_id=run_id, blob=ports.blobs.put(known, MANIFEST_MEDIA_TYPE))
        return _outcome_of(request, manifest, ref, ports)
    attempt = _start_attempt(ports.blobs, run_id)
    ports.failpoints.hit("stage.before_attempt")
    try:
        result = _computed(handler, request, run_id, ports, checkpoint)
        ports.failpoints.hit("stage.before_manifest", f"{request.study.study}.{request.stage}")
        manifest = _manifest(handler, request, run_id, models, result)
        ref = store_manifest(ports.blobs, request.stage, manifest)
    except GlioServeError as error:
        _end_attempt(ports.blobs, attempt, error)
        if isinstance(error, Refused):
            return refused_outcome(request, run_id, error, ports)
        raise
    ports.failpoints.hit("stage.after_manifest")
    return _outcome_of(request, manifest, ref, ports)


def _stands(manifest: Manifest, blobs: BlobStore) -> bool:
    """The ward's stores forget nothing. A theatre session does, maybe while a run that was cancelled still ended."""
    return manifest.lane is not Lane.THEATRE or all(map(blobs.exists, manifest.outputs.values()))


def _manifest(
    handler: StageHandler, request: StageRequest, run_id: RunId, models: tuple[ModelRef, ...], result: StageResult
) -> Manifest:
    return Manifest(
        run_id=run_id,
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        settings_hash=handler.settings_hash,
        completeness=result.completeness,
        verdict=result.verdict,
        inputs=request.inputs,
        outputs=result.outputs,
        reasons=result.reasons,
        models=models,
        facts=result.facts,
        parent=request.inputs[0].run_id if request.inputs else None,
    )


def _computed(
    handler: StageHandler, request: StageRequest, run_id: RunId, ports: RunPorts, checkpoint: Checkpoint
) -> StageResult:
    started = ports.clock.monotonic()
    result = handler.handle(request, checkpoint)
    seconds = ports.clock.monotonic() - started
    ports.metrics.stage_seconds.labels(request.stage, request.lane).observe(seconds)
    log.info(
        "stage.ran",
        extra={
            "stage": str(request.stage),
            "study": request.study.study,
            "lane": str(request.lane),
            "run_id": run_id,
            "seconds": round(seconds, 3),
            "outcome": str(result.completeness),
        },
    )
    return result


def failed_outcome(request: StageRequest, error: GlioServeError, ports: RunPorts) -> StageOutcome:
    """The outcome of a request that went to the dead letters."""
    run_id = run_id_for(request, "failed", [])
    return _without_result(request, run_id, OutcomeStatus.FAILED, error, ports)


def refused_outcome(request: StageRequest, run_id: RunId, error: Refused, ports: RunPorts) -> StageOutcome:
    """The outcome of a request whose input or purpose is not acceptable."""
    return _without_result(request, run_id, OutcomeStatus.REFUSED, error, ports)


def _outcome_of(request: StageRequest, manifest: Manifest, ref: ManifestRef, ports: RunPorts) -> StageOutcome:
    complete = manifest.completeness is Completeness.COMPLETE
    return StageOutcome(
        request_id=request.request_id,
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        status=OutcomeStatus.COMPLETED if complete else OutcomeStatus.DEGRADED,
        run_id=manifest.run_id,
        manifest=ref,
        emitted_at=ports.clock.now(),
    )


def _without_result(
    request: StageRequest, run_id: RunId, status: OutcomeStatus, error: GlioServeError, ports: RunPorts
) -> StageOutcome:
    problem = Problem(stage=request.stage, status=status, code=error.code, message=error.message, advice=error.advice)
    return StageOutcome(
        request_id=request.request_id,
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        status=status,
        run_id=run_id,
        problem=problem,
        emitted_at=ports.clock.now(),
    )


def _start_attempt(blobs: BlobStore, run_id: RunId) -> str:
    names = set(blobs.list_named(f"runs/{run_id}.attempt-"))
    starts = [name for name in names if not name.endswith(".ended")]
    crashes = sum(f"{name}.ended" not in names for name in starts)
    if crashes >= MAX_CRASHES:
        raise Permanent(
            "CRASHED_REPEATEDLY",
            f"the stage stopped without a word {crashes} times on this request",
            "Look at the stage's log, then ask for a replay.",
        )
    attempt = f"runs/{run_id}.attempt-{len(starts) + 1}"
    blobs.put_named(attempt, b"{}")
    return attempt


def _end_attempt(blobs: BlobStore, attempt: str, error: GlioServeError) -> None:
    try:
        blobs.put_named(f"{attempt}.ended", error.code.encode())
    except Transient:  # on a full disk: the start goes instead, or the run would count as a crash
        blobs.delete_named(attempt)
