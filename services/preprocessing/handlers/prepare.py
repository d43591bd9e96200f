"""PREPARE: from the intake of a study to registered, standardised volumes in the canonical box.

find and identify -> choose -> read -> register to the reference -> brain mask -> canonical box -> N4 -> standardise.
What cannot be done for one series degrades the study with a reason; a study without any usable series is refused.
A request that names a preparation too is the theatre's: one more series for what is prepared already.
"""

from __future__ import annotations

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Stage
from services.core.contracts.errors import Refused
from services.core.contracts.events import BlobRef, StageRequest
from services.core.contracts.facts import IntakeFacts, PrepareFacts
from services.core.contracts.manifest import ModelRef
from services.core.imaging.codec import VOLUME_MEDIA_TYPE, encode_volume
from services.core.runtime.settings import affects_result
from services.core.runtime.stage import StageResult, read_manifest
from services.core.runtime.stage_inputs import facts_of, required_input
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.preprocessing.domain.box import Prepared, matrix, prepare_in_box
from services.preprocessing.domain.header_set import HEADERS_MEDIA_TYPE
from services.preprocessing.domain.judgement import judge, nothing_usable
from services.preprocessing.domain.placing import Limits, Placer
from services.preprocessing.domain.reading import read_chosen
from services.preprocessing.handlers.ports import Tools
from services.preprocessing.handlers.theatre import AdditionHandler, first_series_refusal
from services.preprocessing.settings import PrepareSettings


class PrepareHandler:
    """The stage handler (`core.runtime.stage.StageHandler`) of the preparation. Keeps nothing between calls."""

    def __init__(self, blobs: BlobStore, tools: Tools, settings: PrepareSettings) -> None:
        self._blobs = blobs
        self._tools = tools
        self._settings = settings
        self._settings_hash = affects_result(settings)
        self._addition = AdditionHandler(blobs, tools.intake, tools.quick, settings)

    @property
    def stage(self) -> Stage:
        """PREPARE."""
        return Stage.PREPARE

    @property
    def settings_hash(self) -> str:
        """Digest of the settings that affect results."""
        return self._settings_hash

    def models(self, request: StageRequest) -> tuple[ModelRef, ...]:
        """None: no network takes part."""
        del request
        return ()

    def handle(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        """Prepares. Raises Refused when nothing of the study can be used, Transient or Permanent on its blobs."""
        prepared = request.input("prepare")
        if prepared is not None:
            return self._addition.handle(request, prepared, checkpoint)
        try:
            return self._whole(request, checkpoint)
        except Refused as error:
            raise first_series_refusal(request, error) from error

    def _whole(self, request: StageRequest, checkpoint: Checkpoint) -> StageResult:
        manifest = read_manifest(self._blobs, required_input(request, "intake"))
        facts = facts_of(IntakeFacts, manifest)
        with self._tools.intake.series(manifest, facts, checkpoint) as found:
            reading = read_chosen(found, self._settings.unusable_mm, checkpoint)
            if not reading.volumes:
                raise nothing_usable(reading.series, reading.problems)
            headers = reading.reference.headers() if reading.reference.headers else None
        checkpoint()
        limits = Limits(aligned_mm=self._settings.aligned_mm, lost_mm=self._settings.lost_mm)
        placing = Placer(self._tools.registration, limits).place(reading, checkpoint)
        prepared = prepare_in_box(placing, self._tools.bias, checkpoint)
        outputs = self._stored(prepared, headers, checkpoint)
        series = prepared.described(reading.series)
        judgement = judge(series, prepared.brain, [*reading.problems, *prepared.problems], self._settings.thick_mm)
        return StageResult(
            outputs=outputs,
            facts=to_document(
                PrepareFacts(
                    source=facts.source,
                    acquired_at=facts.acquired_at or reading.reference.acquired_at or None,
                    reference=placing.reference.modality,
                    reference_series=placing.reference.found.series,
                    native_shape=placing.reference.volume.data.shape,
                    native_affine=matrix(placing.reference.volume.affine),
                    canonical_affine=matrix(prepared.mask.affine),
                    brain_ml=round(prepared.brain.volume_ml, 3),
                    series=series,
                )
            ),
            completeness=judgement.completeness,
            verdict=judgement.verdict,
            reasons=judgement.reasons,
        )

    def _stored(self, prepared: Prepared, headers: bytes | None, checkpoint: Checkpoint) -> dict[str, BlobRef]:
        outputs = {"brain_mask": self._blobs.put(encode_volume(prepared.mask), VOLUME_MEDIA_TYPE)}
        for modality, volume in prepared.volumes.items():
            checkpoint()
            outputs[f"volume/{modality}"] = self._blobs.put(encode_volume(volume), VOLUME_MEDIA_TYPE)
        if headers is not None:
            checkpoint()
            outputs["headers"] = self._blobs.put(headers, HEADERS_MEDIA_TYPE)
        return outputs
