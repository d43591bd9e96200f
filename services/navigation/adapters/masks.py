"""A segmentation run as a mask in the frame of the series that it answers."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Modality, Verdict
from services.core.contracts.events import ManifestRef
from services.core.contracts.facts import PrepareFacts, SegmentFacts
from services.core.contracts.manifest import Manifest
from services.core.imaging.labels import Label
from services.core.imaging.volume import Volume
from services.core.runtime.stage import read_manifest
from services.core.runtime.stage_inputs import facts_of, volume_of
from services.core.storage.port import BlobStore
from services.navigation.domain.answers import Limit, Mask, MaskAnswer, MaskKind, Reason, said
from services.navigation.domain.pose_state import BoxField, Surroundings, tumour_probability
from services.navigation.ports import Received

FAST = 1
"""zlib level: the masks are long runs, and the theatre waits."""
_GRID = {MaskKind.COARSE: "coarse", MaskKind.FINAL: "canonical"}
VACUITY_STEP = 16
"""Vacuity is told in sixteenths: finer steps are noise, and the message stays far below gRPC's 4 MB."""


def mask_answer(
    blobs: BlobStore, kind: MaskKind, received: Received, prepared: Manifest, result: ManifestRef
) -> MaskAnswer:
    """The answer of a run. Raises Permanent when its outputs do not fit their contract, Transient as the store."""
    manifest = read_manifest(blobs, result)
    facts = facts_of(SegmentFacts, manifest)
    prepare = facts_of(PrepareFacts, prepared)
    labels, vacuity = (volume_of(blobs, manifest, f"{part}/{_GRID[kind]}") for part in ("mask", "vacuity"))
    mask = Mask(
        shape=_shape(labels),
        affine=_frame_of(prepare, received) @ labels.affine,
        label_schema=facts.label_schema,
        labels_zlib=_packed(labels.data),
        vacuity_zlib=_packed(vacuity.data // VACUITY_STEP * VACUITY_STEP),
        volumes_ml=facts.volumes_ml,
        mean_vacuity=facts.mean_vacuity,
    )
    return MaskAnswer(
        series=received.series,
        series_digest=received.digest,
        kind=kind,
        completeness=manifest.completeness,
        needs_review=manifest.verdict is Verdict.NEEDS_REVIEW,
        limits=_limits(prepared, manifest),
        mask=mask,
        models=manifest.models,
        run_id=manifest.run_id,
        used=facts.used,
        unavailable=unavailable(prepared),
        acquired_at=received.acquired_at,
    )


def surroundings(blobs: BlobStore, prepared: Manifest, coarse: ManifestRef) -> Surroundings:
    """Brain and tumour probability in the box of a coarse run's masks. Raises as `mask_answer`."""
    manifest = read_manifest(blobs, coarse)
    brain = BoxField.packed(volume_of(blobs, prepared, "brain_mask").data)
    names = [f"evidence/{label.name.lower()}" for label in Label]
    if any(name not in manifest.outputs for name in names):
        return Surroundings(brain=brain, tumour=None)
    evidence = np.stack([volume_of(blobs, manifest, name).data for name in names])
    return Surroundings(brain=brain, tumour=BoxField.packed(tumour_probability(evidence)))


def unavailable(prepared: Manifest) -> tuple[Modality, ...]:
    """Sequences from before the anatomy changed: they serve registration and the brain mask only."""
    return tuple(slot for slot in Modality if f"registration/{slot}" in prepared.outputs)


def _frame_of(prepare: PrepareFacts, received: Received) -> NDArray[np.float64]:
    """RAS mm of the session's reference to RAS mm of the series."""
    mine = next((series for series in prepare.series if series.series == received.series_id), None)
    if mine is None or mine.to_reference is None:
        return np.eye(4)
    return np.linalg.inv(np.array(mine.to_reference, dtype=np.float64))


def _limits(prepared: Manifest, manifest: Manifest) -> tuple[Limit, ...]:
    reasons = {reason.message: reason for reason in (*prepared.reasons, *manifest.reasons)}
    return tuple(Limit(reason=said(r.code, Reason.INPUT_POOR), message=r.message) for r in reasons.values())


def _shape(volume: Volume) -> tuple[int, int, int]:
    x, y, z = volume.data.shape
    return x, y, z


def _packed(data: NDArray[np.uint8]) -> bytes:
    return zlib.compress(np.ascontiguousarray(data, dtype=np.uint8).tobytes(), FAST)
