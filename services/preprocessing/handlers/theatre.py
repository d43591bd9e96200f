"""PREPARE in the operating room: one new series, and of everything prepared before only references.

find -> read -> where its header says, else quick registration -> canonical box of the session -> standardise. The brain
mask is the session's; there is no N4. A series that cannot be used is refused with one of the theatre's reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.core.contracts.documents import to_document
from services.core.contracts.enums import Lane, Modality
from services.core.contracts.errors import Permanent, Refused
from services.core.contracts.events import ManifestRef, StageRequest
from services.core.contracts.facts import IntakeFacts, PrepareFacts
from services.core.contracts.manifest import Manifest
from services.core.imaging.codec import VOLUME_MEDIA_TYPE, decode_volume, encode_volume
from services.core.imaging.volume import Volume
from services.core.runtime.stage import StageResult, read_manifest
from services.core.runtime.stage_inputs import facts_of, output_of, required_input, volume_of
from services.core.runtime.steps import Checkpoint
from services.core.storage.port import BlobStore
from services.preprocessing.domain.addition import (
    Added,
    add,
    facts_with,
    fixed_name,
    judge_addition,
    outputs_with,
    series_with,
    unavailable,
)
from services.preprocessing.domain.placing import Limits
from services.preprocessing.domain.quick_placing import Ground, QuickPlacer, QuickRegistration
from services.preprocessing.domain.reading import facts_of_found, read_one, too_poor
from services.preprocessing.domain.refusals import theatre_refusal
from services.preprocessing.domain.series import Found, Placed, Unreadable
from services.preprocessing.handlers.ports import Intake
from services.preprocessing.settings import PrepareSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Read:
    found: Found
    modality: Modality
    volume: Volume


class AdditionHandler:
    """Adds a series to a prepared study. Keeps nothing between calls."""

    def __init__(
        self, blobs: BlobStore, intake: Intake, registration: QuickRegistration, settings: PrepareSettings
    ) -> None:
        self._blobs = blobs
        self._intake = intake
        self._placer = QuickPlacer(registration, Limits(aligned_mm=settings.aligned_mm, lost_mm=settings.lost_mm))
        self._settings = settings

    def handle(self, request: StageRequest, prepare: ManifestRef, checkpoint: Checkpoint) -> StageResult:
        """The study of `prepare` with the series of the intake. Raises Refused with a reason of the theatre."""
        before = read_manifest(self._blobs, prepare)
        intake = read_manifest(self._blobs, required_input(request, "intake"))
        facts = facts_of(IntakeFacts, intake)
        try:
            read = self._read(intake, facts, checkpoint)
            added = self._added(before, read, checkpoint)
        except Refused as error:
            raise theatre_refusal(error.code, error.message, error.advice) from error
        checkpoint()
        return self._stated(before, facts, read, added)

    def _read(self, intake: Manifest, facts: IntakeFacts, checkpoint: Checkpoint) -> _Read:
        with self._intake.series(intake, facts, checkpoint) as series:
            if len(series) != 1:
                raise Permanent("NOT_ONE_SERIES", f"the intake {intake.run_id} holds {len(series)} series, not one")
            found = series[0]
            if isinstance(found, Unreadable):
                raise Refused(found.reason.code, found.reason.message)
            if found.modality is None:
                raise Refused("MODALITY_UNKNOWN", found.reason)
            poor = too_poor(found, self._settings.unusable_mm)
            if poor is not None:
                raise Refused(poor.code, poor.message)
            return _Read(found=found, modality=found.modality, volume=read_one(found, checkpoint))

    def _added(self, before: Manifest, read: _Read, checkpoint: Checkpoint) -> Added:
        fixed = fixed_name(before.outputs, read.modality)
        if fixed is None:
            raise Permanent("OUTPUT_MISSING", f"run {before.run_id} has no volume to register to")
        ground = Ground(
            facts=facts_of(PrepareFacts, before),
            mask=volume_of(self._blobs, before, "brain_mask"),
            fixed=decode_volume(self._blobs.read(output_of(before, fixed))),
        )
        checkpoint()
        place = self._placer.place(ground, read.found, read.volume, checkpoint)
        placed = Placed(
            found=read.found,
            modality=read.modality,
            volume=read.volume,
            from_reference=place.from_reference.astype(np.float64),
            placing=place.placing,
        )
        return add(placed, ground.mask, facts_of_found(read.found), self._settings.threads, checkpoint)

    def _stated(self, before: Manifest, intake: IntakeFacts, read: _Read, added: Added) -> StageResult:
        volume = self._blobs.put(encode_volume(added.volume), VOLUME_MEDIA_TYPE)
        outputs = outputs_with(before.outputs, read.modality, volume, changed=intake.anatomy_changed)
        facts = facts_of(PrepareFacts, before)
        series = series_with(facts.series, added.facts, changed=intake.anatomy_changed)
        judgement = judge_addition(before, series, added, unavailable(outputs), self._settings.thick_mm)
        acquired_at = intake.acquired_at or read.found.acquired_at or None
        return StageResult(
            outputs=outputs,
            facts=to_document(facts_with(facts, series, acquired_at)),
            completeness=judgement.completeness,
            verdict=judgement.verdict,
            reasons=judgement.reasons,
        )


def first_series_refusal(request: StageRequest, error: Refused) -> Refused:
    """The refusal of a whole preparation, in the theatre's words where it is the first series of a session."""
    return theatre_refusal(error.code, error.message) if request.lane is Lane.THEATRE else error
