"""What the operating room takes and gives: the current version's manifests, and masks that change no version."""

from __future__ import annotations

from services.core.contracts.enums import Stage
from services.core.contracts.events import ManifestRef, StudyRef
from services.core.contracts.ids import StudyKey
from services.core.runtime.stage import read_manifest
from services.gateway.domain.history import HistoryEvent
from services.gateway.errors import NotFound
from services.gateway.handlers.progress import FlowPorts
from services.gateway.ports import IntraoperativeRow, Views

_STAGES = (Stage.PREPARE, Stage.SEGMENT)


def current_study(study: StudyKey, views: Views) -> tuple[StudyRef, tuple[ManifestRef, ...]]:
    """The study at its current version with its preparation and segmentation, as far as they are there.

    Raises NotFound for a study that the gateway does not know or that has no version yet.
    """
    view = views.study(study)
    record = None if view is None else view.record
    if record is None:
        raise NotFound("UNKNOWN_STUDY", f"there is no study {study[:64]} with a version")
    newest = [record.current(stage)[-1].manifest for stage in _STAGES if record.current(stage)]
    ref = StudyRef(patient=record.patient, study=record.study, version=record.version)
    return ref, tuple(manifest for manifest in newest if manifest is not None)


def record_mask(study: StudyRef, result: ManifestRef, acquired_at: str | None, ports: FlowPorts) -> bool:
    """Records a mask of the operating room; False when it was recorded before.

    Raises Transient when its manifest is not in the store yet, Permanent when it is damaged.
    """
    manifest = read_manifest(ports.blobs, result)
    now = ports.clock.now()
    row = IntraoperativeRow(
        study=study,
        manifest=result,
        completeness=manifest.completeness,
        verdict=manifest.verdict,
        acquired_at=acquired_at,
        created_at=now,
    )
    with ports.state.write() as transaction:
        transaction.lock(study.patient, now)
        added = transaction.add_intraoperative(row)
        if added and transaction.patient_of(study.study) == study.patient:
            transaction.add_history(study.study, study.version, HistoryEvent.THEATRE, now, run_id=result.run_id)
    ports.changed()
    return added
