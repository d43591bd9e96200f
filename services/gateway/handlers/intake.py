"""Takes an examined upload in: blobs first, then one transaction with rows, version and the first request (rule 1).

All doors share it. An upload closes its study at its end; STOW and C-STORE call `accept(..., close=False)`, and the
study closes after its quiet period or by `close_study`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.core.contracts.enums import BlobClass, Lane
from services.core.contracts.errors import GlioServeError
from services.core.contracts.events import BlobRef
from services.core.contracts.ids import PatientKey, StudyKey
from services.core.runtime.stage import store_manifest
from services.gateway.domain.history import HistoryEvent
from services.gateway.domain.intake import Instance, StudyFacts, StudyRow, intake_manifest, study_key
from services.gateway.domain.submission import Item, Submission
from services.gateway.errors import Conflict, NotFound
from services.gateway.handlers.progress import FlowPorts, advance
from services.gateway.ports import IdentityVault, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePorts:
    """What intake needs beside the flow. `quiet_s`: after so many seconds without instances a study closes."""

    flow: FlowPorts
    vault: IdentityVault
    settings_hash: str
    quiet_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of an upload: its study and current version, and how many instances were new, known or ignored."""

    study: StudyKey
    patient: PatientKey
    version: int
    new_version: bool
    added: int
    duplicates: int
    ignored: Mapping[str, int]


def accept(submission: Submission, lane: Lane, door: str, ports: IntakePorts, *, close: bool = True) -> Accepted:
    """Stores a submission durably. Raises Conflict when it contradicts what is stored, Transient when it cannot."""
    facts = _facts(submission, lane, ports)
    now = ports.flow.clock.now()
    fresh = _new_items(facts, submission, ports)
    blobs = _stored(fresh, ports)
    if submission.has_identity:
        ports.vault.remember(facts.patient, submission.identity, now)
    if any(submission.module.stored().values()):
        ports.vault.remember_study(facts.study, submission.module, now)
    ports.flow.failpoints.hit("gateway.before_row")
    with ports.flow.state.write() as transaction:
        transaction.lock(facts.patient, now)
        row = transaction.study(facts.study) or _opened(transaction, facts, now)
        _check_date(row, facts)
        added = _add(transaction, row, list(zip(fresh, blobs, strict=True)), (door, now))
        if added and _began_earlier(facts, row):
            transaction.set_acquired_at(row.study, facts.acquired_at)
            row = replace(row, acquired_at=facts.acquired_at)
        if lane is Lane.STAT and row.lane is not lane:  # more urgent than thought; never less by a default
            transaction.set_lane(row.study, lane)
            row = replace(row, lane=lane)
        before = row.version
        if close:
            row = _close(transaction, row, now, ports)
        elif added:
            transaction.close_at(row.study, now + timedelta(seconds=ports.quiet_s))
    ports.flow.failpoints.hit("gateway.after_row")
    ports.flow.changed()
    return Accepted(
        study=facts.study,
        patient=facts.patient,
        version=row.version,
        new_version=row.version > before,
        added=added,
        duplicates=len(submission.items) - added,
        ignored=dict(submission.ignored),
    )


def close_study(study: StudyKey, ports: IntakePorts) -> int:
    """Closes a study now: what waits becomes the next version. Gives the current version. Raises NotFound."""
    now = ports.flow.clock.now()
    with ports.flow.state.write() as transaction:
        patient = transaction.patient_of(study)
        if patient is None:
            raise NotFound("UNKNOWN_STUDY", "there is no study with this id")
        transaction.lock(patient, now)
        row = transaction.study(study)
        if row is None:
            raise NotFound("UNKNOWN_STUDY", "there is no study with this id")
        closed = _close(transaction, row, now, ports)
    ports.flow.changed()
    return closed.version


def close_quiet_studies(ports: IntakePorts) -> int:
    """Closes every study whose quiet period is over; gives how many.

    One that cannot be closed holds up no other; raises the last such error once all were tried.
    """
    closed, failed = 0, None
    for study in ports.flow.state.quiet_studies(ports.flow.clock.now()):
        try:
            close_study(study, ports)
            closed += 1
        except GlioServeError as error:
            failed = error
    if failed is not None:
        raise failed
    return closed


def _facts(submission: Submission, lane: Lane, ports: IntakePorts) -> StudyFacts:
    who = submission.identity
    patient = ports.vault.pseudonym(who.issuer, who.patient_id)
    return StudyFacts(
        study=study_key(patient, submission.own_identity),
        patient=patient,
        source=submission.source,
        study_uid=submission.study_uid,
        acquired_at=submission.acquired_at,
        lane=lane,
    )


def _new_items(facts: StudyFacts, submission: Submission, ports: IntakePorts) -> list[Item]:
    """Checked before any blob is written, so that a refusal leaves nothing behind."""
    with ports.flow.state.write() as transaction:
        row = transaction.study(facts.study)
        if row is not None:
            _check_date(row, facts)
        return _unknown(transaction, facts.study, submission.items)


def _unknown(transaction: Transaction, study: StudyKey, items: Sequence[Item]) -> list[Item]:
    stored = transaction.fingerprints(study, [item.instance for item in items])
    for item in items:
        if stored.get(item.instance, item.fingerprint) != item.fingerprint:
            raise Conflict(
                "INSTANCE_CONFLICT",
                "an instance with a known UID comes with other pixels or geometry",
                "What is stored stays. Give changed images new UIDs (DICOM PS3.3 C.12.1.1).",
            )
    return [item for item in items if item.instance not in stored]


def _stored(items: Sequence[Item], ports: IntakePorts) -> list[BlobRef]:
    kinds = sorted({item.media_type for item in items})
    found: dict[str, BlobRef] = {}
    for kind in kinds:
        batch = [item for item in items if item.media_type == kind]
        refs = ports.flow.blobs.put_files([item.path for item in batch], kind, BlobClass.IDENTIFIED)
        found.update({item.instance: ref for item, ref in zip(batch, refs, strict=True)})
    return [found[item.instance] for item in items]


def _opened(transaction: Transaction, facts: StudyFacts, now: datetime) -> StudyRow:
    row = transaction.add_study(facts, now)
    transaction.add_history(facts.study, 0, HistoryEvent.OPENED, now, source=facts.source, lane=facts.lane)
    return row


def _check_date(row: StudyRow, facts: StudyFacts) -> None:
    """A NIfTI study is its content: the same content cannot have been acquired twice."""
    if row.study_uid is None and facts.acquired_at and facts.acquired_at != row.acquired_at:
        raise Conflict(
            "DATE_CONFLICT",
            "this study is known with another date of acquisition, or with none",
            "The first statement stays.",
        )


def _began_earlier(facts: StudyFacts, row: StudyRow) -> bool:
    """Instances come in any order: the study was acquired when the earliest of them was (rule 6)."""
    if row.study_uid is None or facts.acquired_at is None:
        return False
    return row.acquired_at is None or facts.acquired_at < row.acquired_at


def _add(
    transaction: Transaction, row: StudyRow, found: Sequence[tuple[Item, BlobRef]], how: tuple[str, datetime]
) -> int:
    door, now = how
    fresh = {item.instance for item in _unknown(transaction, row.study, [item for item, _ in found])}
    instances = [
        Instance(
            instance=item.instance,
            series=item.series,
            slot=item.slot,
            fingerprint=item.fingerprint,
            blob=blob,
        )
        for item, blob in found
        if item.instance in fresh
    ]
    transaction.add_instances(row.study, instances, door, now)
    if instances:
        transaction.add_history(row.study, row.version, HistoryEvent.INSTANCES, now, door=door, count=len(instances))
    return len(instances)


def _close(transaction: Transaction, row: StudyRow, now: datetime, ports: IntakePorts) -> StudyRow:
    """The union as a new version, or nothing when it equals the current one."""
    if not transaction.open_instances(row.study):
        transaction.close_at(row.study, None)
        return row
    version = row.version + 1
    manifest = intake_manifest(row, version, transaction.instances(row.study), ports.settings_hash)
    reference = store_manifest(ports.flow.blobs, "intake", manifest)
    transaction.add_version(row.study, version, reference, now)
    if row.version:
        transaction.add_history(row.study, row.version, HistoryEvent.SUPERSEDED, now, by=version)
    transaction.add_history(
        row.study, version, HistoryEvent.VERSION, now, instances=len(manifest.outputs), run_id=manifest.run_id
    )
    advance(transaction, row.patient, ports.flow)
    return replace(row, version=version, closes_at=None)
