"""SEGMENT: from prepared volumes to a mask with its uncertainty, on the canonical and on the native grid.

Steps: coarse sees the whole box at 2 mm; fine looks again at 1 mm where coarse found something; both does one after
the other and gives the same masks as the two requests of the theatre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Completeness, Lane, Modality, SegmentStep, Stage
from services.core.contracts.errors import Permanent
from services.core.contracts.events import BlobRef, ManifestRef, StageRequest
from services.core.contracts.facts import PrepareFacts, SegmentFacts
from services.core.contracts.manifest import Manifest, ModelRef
from services.core.imaging.canonical import coarse_grid
from services.core.imaging.codec import VOLUME_MEDIA_TYPE, encode_volume
from services.core.imaging.labels import LABEL_SCHEMA, Label, volumes_ml
from services.core.imaging.volume import Array, Volume
from services.core.runtime.settings import affects_result
from services.core.runtime.stage import StageResult, read_manifest
from services.core.runtime.stage_inputs import facts_of, required_input, volume_of
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.core.triton.port import InferenceClient
from services.fusion_segmentation.domain import crops as cropping
from services.fusion_segmentation.domain.answer import (
    CoarseAnswer,
    canonical_mask,
    centroid_ras_mm,
    coarse_answer,
    evidence_volumes,
    fine_reading,
    vacuity_of,
)
from services.fusion_segmentation.domain.evidence import (
    CropReading,
    Reading,
    at_2mm,
    evidence_crop,
    merged,
    read_coarse,
)
from services.fusion_segmentation.domain.judgement import Findings, Limits, insufficient, judge
from services.fusion_segmentation.domain.native import to_native
from services.fusion_segmentation.domain.nifti import NIFTI_MEDIA_TYPE, encode_nifti
from services.fusion_segmentation.domain.postprocess import (
    finished,
    mean_vacuity,
    touches_edge,
)
from services.fusion_segmentation.domain.study import SLOTS, PreparedStudy, assembled, coarse_inputs, fine_inputs
from services.fusion_segmentation.settings import FusionSettings

COARSE_MODEL, FINE_MODEL = "fusion_coarse", "fusion_fine"
_MODELS = {
    SegmentStep.COARSE: (COARSE_MODEL,),
    SegmentStep.FINE: (FINE_MODEL,),
    SegmentStep.BOTH: (COARSE_MODEL, FINE_MODEL),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Segmented:
    """A finished mask: voxels at 1 mm in the box, what they rest on, and what was noticed on the way."""

    step: SegmentStep
    answer: CoarseAnswer
    reading: Reading
    unrefined_ml: float = 0.0
    fine_blind: bool = False


class SegmentHandler:
    """The stage handler (`core.runtime.stage.StageHandler`) of the segmentation. Keeps nothing between calls."""

    def __init__(self, blobs: BlobStore, inference: InferenceClient, settings: FusionSettings) -> None:
        self._blobs = blobs
        self._inference = inference
        self._settings = settings

    @property
    def stage(self) -> Stage:
        """SEGMENT."""
        return Stage.SEGMENT

    @property
    def settings_hash(self) -> str:
        """Digest of the settings that change a mask or its verdict."""
        return affects_result(self._settings)

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        """The models that this request's step calls."""
        return tuple(self._inference.model_ref(name) for name in _MODELS[_step(request)])

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        """The mask of a study. Raises Transient (blobs, Triton), Permanent (inputs that do not fit their contract)."""
        parent = self._coarse_run(request)
        prepare = read_manifest(self._blobs, _prepare_ref(request, parent))
        study = self._study(prepare, checkpoint)
        if study is None:
            return _nothing_to_see(_step(request), prepare)
        answer = self._looked_at(study, request, checkpoint) if parent is None else self._remembered(parent)
        checkpoint()
        segmented = self._read(answer, study, request)
        checkpoint()
        if _step(request) is not SegmentStep.COARSE:
            segmented = self._refined(segmented, study, request, checkpoint)
        return self._stated(segmented, study, prepare, checkpoint)

    def _held(self, step: SegmentStep) -> tuple[str, ...]:
        """Networks behind this step's mask that are below their release bar; a fine mask rests on the coarse one."""
        names = (COARSE_MODEL,) if step is SegmentStep.COARSE else (COARSE_MODEL, FINE_MODEL)
        held = self._settings.held_models.split(",")
        return tuple(name for name in names if self._inference.model_ref(name).digest in held)

    def _coarse_run(self, request: StageRequest) -> Manifest | None:
        if _step(request) is not SegmentStep.FINE:
            return None
        ref = request.input("segment")
        if ref is None:
            raise Permanent("NO_COARSE_RUN", "a fine segmentation names no coarse run to start from")
        return read_manifest(self._blobs, ref)

    def _study(self, prepare: Manifest, checkpoint: Checkpoint) -> PreparedStudy | None:
        if prepare.completeness is Completeness.INSUFFICIENT:
            return None
        volumes: dict[Modality, Volume] = {}
        for slot in SLOTS:
            if f"volume/{slot}" in prepare.outputs:
                volumes[slot] = self._volume(prepare, f"volume/{slot}")
                checkpoint()
        if not volumes:
            return None
        facts = facts_of(PrepareFacts, prepare)
        return assembled(facts, self._volume(prepare, "brain_mask"), volumes)

    def _looked_at(self, study: PreparedStudy, request: StageRequest, checkpoint: Checkpoint) -> CoarseAnswer:
        inputs = coarse_inputs(study)
        checkpoint()
        outputs = self._infer(COARSE_MODEL, inputs, ("evidence", "markers", "gates"), request, checkpoint)
        return coarse_answer(outputs, study.used)

    def _remembered(self, parent: Manifest) -> CoarseAnswer:
        """The answer of an earlier coarse run: evidence from its outputs, the rest from its facts."""
        facts = facts_of(SegmentFacts, parent)
        if facts.step is not SegmentStep.COARSE or facts.label_schema != LABEL_SCHEMA:
            raise Permanent("NO_COARSE_RUN", f"run {parent.run_id} is no coarse segmentation of this label schema")
        fields = [self._volume(parent, _evidence_name(label)).data for label in Label]
        return CoarseAnswer(evidence=np.stack(fields).astype(np.float32), markers=facts.markers, gates=facts.gates)

    def _read(self, answer: CoarseAnswer, study: PreparedStudy, request: StageRequest) -> _Segmented:
        reading = self._clean(read_coarse(answer.evidence), study, answer)
        return _Segmented(step=_step(request), answer=answer, reading=reading)

    def _refined(
        self, coarse: _Segmented, study: PreparedStudy, request: StageRequest, checkpoint: Checkpoint
    ) -> _Segmented:
        if not study.structural:
            return replace(coarse, fine_blind=True)
        settings = self._settings
        windows = cropping.crops_around(coarse.reading.labels, settings.crop_margin_mm, settings.max_crops)
        answers: list[CropReading] = []
        for window in windows:
            inputs = fine_inputs(study, window, evidence_crop(coarse.answer.evidence, window))
            checkpoint()
            outputs = self._infer(FINE_MODEL, inputs, ("label", "vacuity"), request, checkpoint)
            answers.append(CropReading(window=window, reading=fine_reading(outputs)))
            checkpoint()
        reading = self._clean(merged(coarse.reading, answers), study, coarse.answer)
        unrefined = cropping.outside(reading.labels, windows) * study.grid.voxel_ml
        return replace(coarse, reading=reading, unrefined_ml=unrefined)

    def _clean(self, reading: Reading, study: PreparedStudy, answer: CoarseAnswer) -> Reading:
        return finished(reading, study.brain, answer.evidence, self._settings.mask_rules)

    def _stated(
        self, segmented: _Segmented, study: PreparedStudy, prepare: Manifest, checkpoint: Checkpoint
    ) -> StageResult:
        labels, vacuity = segmented.reading.labels, segmented.reading.vacuity
        mask = canonical_mask(labels, study.grid)
        native = to_native(mask, study.native) if self._settings.native_outputs else None
        checkpoint()
        measured = mask if native is None else native
        volumes = self._volumes(measured)
        uncertainty = mean_vacuity(labels, vacuity)
        findings = Findings(
            used=study.used,
            volumes_ml=volumes,
            mean_vacuity=uncertainty,
            touches_edge=touches_edge(labels),
            unrefined_ml=segmented.unrefined_ml,
            fine_blind=segmented.fine_blind,
            held_models=self._held(segmented.step),
        )
        limits = Limits(vacuity=self._settings.review_vacuity, whole_tumour_ml=self._settings.implausible_ml)
        judgement = judge(findings, prepare, limits)
        facts = SegmentFacts(
            label_schema=LABEL_SCHEMA,
            step=segmented.step,
            volumes_ml=volumes,
            used=study.used,
            gates=segmented.answer.gates,
            markers=segmented.answer.markers,
            mean_vacuity=None if uncertainty is None else round(uncertainty, 6),
            centroid_ras_mm=centroid_ras_mm(measured),
        )
        return StageResult(
            outputs=self._stored(segmented, mask, native, study, checkpoint),
            facts=to_document(facts),
            completeness=judgement.completeness,
            verdict=judgement.verdict,
            reasons=judgement.reasons,
        )

    def _volumes(self, mask: Volume) -> dict[str, float]:
        """ml; without the labels that the networks do not know and so did not find: 0 ml would be a statement."""
        unknown = self._settings.unknown_labels.split(",")
        found = volumes_ml(mask.data, mask.grid)
        return {name: round(ml, 6) for name, ml in found.items() if ml > 0 or name not in unknown}

    def _stored(
        self, segmented: _Segmented, mask: Volume, native: Volume | None, study: PreparedStudy, checkpoint: Checkpoint
    ) -> Mapping[str, BlobRef]:
        volumes = {"mask/canonical": mask, "vacuity/canonical": vacuity_of(mask, segmented.reading)}
        if native is not None:
            volumes["mask/native"] = native
        if segmented.step is SegmentStep.COARSE:
            volumes |= self._at_2mm(segmented, study)
        outputs = {}
        for name, volume in volumes.items():
            outputs[name] = self._blobs.put(encode_volume(volume), VOLUME_MEDIA_TYPE)
            checkpoint()
        if native is not None:
            outputs["mask/native.nii.gz"] = self._blobs.put(encode_nifti(native, LABEL_SCHEMA), NIFTI_MEDIA_TYPE)
        return outputs

    def _at_2mm(self, segmented: _Segmented, study: PreparedStudy) -> dict[str, Volume]:
        """What only a coarse run has: its mask as the network saw it, and the evidence that the fine run needs."""
        answer, grid = segmented.answer, coarse_grid(study.grid)
        reading = at_2mm(segmented.reading, study.brain, answer.evidence)
        mask = canonical_mask(reading.labels, grid)
        evidence = {_evidence_name(label): volume for label, volume in evidence_volumes(answer, grid).items()}
        return {"mask/coarse": mask, "vacuity/coarse": vacuity_of(mask, reading), **evidence}

    def _infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: tuple[str, ...],
        request: StageRequest,
        checkpoint: Checkpoint,
    ) -> Mapping[str, Array]:
        """A call that the end of its caller's patience ends. The ward's calls are short, and redone when dropped."""
        return self._inference.infer(
            model,
            self._inference.model_ref(model).version,
            inputs,
            outputs,
            priority=request.lane,
            deadline_s=self._settings.deadlines.of(request.lane),
            pulse=checkpoint if request.lane is Lane.THEATRE else None,
        )

    def _volume(self, manifest: Manifest, name: str) -> Volume:
        return volume_of(self._blobs, manifest, name)


def _step(request: StageRequest) -> SegmentStep:
    return request.step or SegmentStep.BOTH


def _prepare_ref(request: StageRequest, coarse: Manifest | None) -> ManifestRef:
    """The preparation: named by the request, else the one that the coarse run started from."""
    ref = request.input("prepare")
    if ref is None and coarse is not None:
        ref = next((named for named in coarse.inputs if named.role == "prepare"), None)
    return ref if ref is not None else required_input(request, "prepare")


def _evidence_name(label: Label) -> str:
    return f"evidence/{label.name.lower()}"


def _nothing_to_see(step: SegmentStep, prepare: Manifest) -> StageResult:
    """No sequence, so no number at all (rule 8)."""
    judgement = insufficient(prepare)
    facts = SegmentFacts(
        label_schema=LABEL_SCHEMA,
        step=step,
        volumes_ml={},
        used=(),
        gates={},
        markers=(),
        mean_vacuity=None,
        centroid_ras_mm=None,
    )
    return StageResult(
        facts=to_document(facts),
        completeness=judgement.completeness,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
    )
