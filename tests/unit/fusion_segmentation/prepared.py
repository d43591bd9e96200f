"""A prepared study in a blob store, and a small honest network: labels follow from intensities alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Lane, Modality, SegmentStep, Stage, Verdict
from services.core.contracts.events import ManifestRef, StageRequest, StudyRef
from services.core.contracts.facts import Matrix, PrepareFacts, SeriesFacts, Source
from services.core.contracts.ids import PatientKey, RequestId, RunId, StudyKey
from services.core.contracts.manifest import Manifest, ModelRef, Reason
from services.core.imaging.canonical import BOX_MM, canonical_grid
from services.core.imaging.codec import VOLUME_MEDIA_TYPE, encode_volume
from services.core.imaging.volume import Affine, Array, Volume
from services.core.runtime.stage import store_manifest
from services.core.storage.port import BlobStore

STRUCTURAL = (Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F)
CENTRE = np.array([4.0, -7.0, 11.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A brain of 120 mm with a ball of tumour: bright on T1c inside `core_mm`, on FLAIR inside `oedema_mm`."""

    slots: tuple[Modality, ...] = STRUCTURAL
    at: tuple[int, int, int] = (60, 90, 80)
    oedema_mm: float = 24.0
    core_mm: float = 12.0
    completeness: Completeness = Completeness.COMPLETE
    verdict: Verdict = Verdict.TRUSTED
    reasons: tuple[Reason, ...] = ()
    acquired_at: str | None = "2026-01-10"
    run_id: str = "prepare-run"


def matrix(affine: Affine) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in affine)


def native_affine() -> Affine:
    """0.9 x 0.9 x 3 mm, slightly oblique, left to right reversed."""
    turn = 0.15
    columns = np.array([[-np.cos(turn), -np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = columns * np.array([0.9, 0.9, 3.0])
    affine[:3, 3] = CENTRE - affine[:3, :3] @ np.array([119.5, 119.5, 29.5])
    return affine


def store_prepared(blobs: BlobStore, study: StudyRef, spec: Spec | None = None) -> ManifestRef:
    """Writes volumes and manifest as the preparation does; gives the reference with the role `prepare`."""
    spec = spec or Spec()
    grid = canonical_grid(CENTRE)
    brain = np.zeros(BOX_MM, np.uint8)
    brain[20:140, 30:160, 20:140] = 1
    volumes = {f"volume/{slot}": (_voxels(slot, spec, brain), slot.value) for slot in spec.slots}
    outputs = {}
    for name, (data, modality) in {**volumes, "brain_mask": (brain, "brain_mask")}.items():
        volume = Volume(data=data, affine=grid.affine, modality=modality, units="a.u.")
        outputs[name] = blobs.put(encode_volume(volume), VOLUME_MEDIA_TYPE)
    facts = PrepareFacts(
        source=Source.NIFTI,
        acquired_at=spec.acquired_at,
        reference=spec.slots[0] if spec.slots else Modality.T1C,
        reference_series="nifti-t1c",
        native_shape=(240, 240, 60),
        native_affine=matrix(native_affine()),
        canonical_affine=matrix(grid.affine),
        brain_ml=float(brain.sum() / 1000),
        series=tuple(_series(slot) for slot in spec.slots),
    )
    manifest = Manifest(
        run_id=RunId(spec.run_id),
        stage=Stage.PREPARE,
        study=study,
        lane=Lane.ROUTINE,
        settings_hash="s",
        completeness=spec.completeness,
        verdict=spec.verdict,
        outputs=outputs,
        reasons=spec.reasons,
        facts=to_document(facts),
    )
    return store_manifest(blobs, "prepare", manifest)


def study_ref(study: str = "study-1", patient: str = "patient-1") -> StudyRef:
    return StudyRef(patient=PatientKey(patient), study=StudyKey(study), version=1)


def request(
    *inputs: ManifestRef, stage: Stage = Stage.SEGMENT, step: SegmentStep | None = None, study: StudyRef | None = None
) -> StageRequest:
    return StageRequest(
        request_id=RequestId("request-1"),
        stage=stage,
        study=study or study_ref(),
        lane=Lane.ROUTINE,
        inputs=inputs,
        requested_at=datetime(2026, 1, 11, tzinfo=UTC),
        step=step,
    )


def as_role(ref: ManifestRef, role: str) -> ManifestRef:
    return replace(ref, role=role)


def _series(slot: Modality) -> SeriesFacts:
    return SeriesFacts(
        series=f"nifti-{slot}",
        modality=slot,
        used=True,
        reason="named by the sender",
        shape=(240, 240, 60),
        spacing_mm=(0.9, 0.9, 3.0),
        log_snr=3.0,
        motion=None,
        slice_thickness_mm=3.0,
    )


def _voxels(slot: Modality, spec: Spec, brain: NDArray[np.uint8]) -> Array:
    x, y, z = np.ogrid[: BOX_MM[0], : BOX_MM[1], : BOX_MM[2]]
    distance = np.float32(0) + (x - spec.at[0]) ** 2 + (y - spec.at[1]) ** 2 + (z - spec.at[2]) ** 2
    data = np.zeros(BOX_MM, np.float16)
    bright = {Modality.T2F: (spec.oedema_mm, 2.0), Modality.T1C: (spec.core_mm, 3.0)}
    if slot in bright and bright[slot][0] > 0:
        data[(distance <= bright[slot][0] ** 2) & (brain > 0)] = bright[slot][1]
    return data


@dataclass
class IntensityNetwork:
    """The inference port with both models as plain arithmetic: FLAIR argues for oedema, T1c for enhancement.

    `strength` scales all evidence; `calls` keeps model, lane and deadline of each call, `interruptible` the lanes of
    those that came with a pulse.
    """

    strength: float = 20.0
    refined_vacuity: int = 10
    markers: tuple[float, float] = (0.0, 0.0)
    calls: list[tuple[str, Lane, float]] = field(default_factory=list)
    interruptible: set[Lane] = field(default_factory=set)

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        priority: Lane,
        deadline_s: float,
        pulse: Callable[[], None] | None = None,
    ) -> Mapping[str, Array]:
        assert version == "1"
        self.calls.append((model, priority, deadline_s))
        if pulse is not None:
            self.interruptible.add(priority)
        answer = self._coarse(inputs) if model == "fusion_coarse" else self._fine(inputs)
        return {name: answer[name] for name in outputs}

    def model_ref(self, name: str) -> ModelRef:
        return ModelRef(name=name, version="1", digest=f"sha256:{name}")

    def ready(self) -> bool:
        return True

    def _coarse(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        image, available = inputs["image"], inputs["available"]
        assert image.dtype == np.float16
        assert image.shape == (1, 10, 80, 96, 80)
        assert available.shape == (1, 10)
        assert inputs["quality"].shape == (1, 10, 3)
        markers = np.zeros((1, 8, 2), np.float32)
        markers[0, :4] = self.markers
        gates = available / max(float(available.sum()), 1.0)
        return {"evidence": self._evidence(image[0, 1], image[0, 3])[np.newaxis], "markers": markers, "gates": gates}

    def _fine(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        image, coarse = inputs["image"], inputs["coarse"]
        assert image.dtype == coarse.dtype == np.float16
        assert image.shape == (1, 4, 96, 96, 96)
        assert coarse.shape == (1, 5, 96, 96, 96)
        label = self._evidence(image[0, 1], image[0, 3]).argmax(axis=0).astype(np.uint8)[np.newaxis]
        return {"label": label, "vacuity": np.full(label.shape, self.refined_vacuity, np.uint8)}

    def _evidence(self, t1c: Array, t2f: Array) -> NDArray[np.float16]:
        evidence = np.zeros((5, *t1c.shape), np.float16)
        evidence[3] = (t1c > 1.5) * self.strength
        evidence[2] = (t2f > 1.0) * (t1c <= 1.5) * self.strength
        evidence[0] = (evidence[2] + evidence[3] == 0) * self.strength
        return evidence
