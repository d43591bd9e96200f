"""Takes DICOM instances in for the doors that answer for each one: STOW-RS and C-STORE.

An instance that is refused says why and keeps no other one out; what is not refused is durable (rule 1). The studies
stay open: they close after their quiet period or by `close_study`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.contracts.enums import Lane
from services.core.contracts.errors import GlioServeError, Refused
from services.core.contracts.ids import StudyKey
from services.gateway.domain.upload import StagedFile, Statements
from services.gateway.errors import Conflict
from services.gateway.handlers.examine import one_study
from services.gateway.handlers.intake import IntakePorts, accept
from services.gateway.ports import DicomImage, Inspector, InstanceName


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How instances came: by which door, on which lane, and the one study that they must be of, if the sender says."""

    door: str
    lane: Lane = Lane.ROUTINE
    study_uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of an instance: it is stored in `study`, or `error` says why not. `name` is None when unreadable."""

    name: InstanceName | None
    study: StudyKey | None = None
    error: GlioServeError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An instance that may be stored, and its place in the delivery."""

    place: int
    file: StagedFile
    image: DicomImage

    @property
    def name(self) -> InstanceName:
        return InstanceName(sop_class=self.image.sop_class, instance=self.image.instance)


Receipts = dict[int, Receipt]


def take_instances(
    files: Sequence[StagedFile], delivery: Delivery, inspector: Inspector, ports: IntakePorts
) -> list[Receipt]:
    """One receipt a file, in their order. Each study and patient is stored by one transaction."""
    receipts: Receipts = {}
    groups: dict[tuple[str, str, str], list[_Found]] = {}
    for place, file in enumerate(files):
        try:
            image = _examined(file, delivery, inspector)
        except Refused as error:
            receipts[place] = Receipt(name=inspector.stated(file.path), error=error)
        else:
            whose = (image.study, image.identity.issuer, image.identity.patient_id)
            groups.setdefault(whose, []).append(_Found(place=place, file=file, image=image))
    for group in groups.values():
        receipts |= _each_once(group, delivery, ports)
    return [receipts[place] for place in range(len(files))]


def _examined(file: StagedFile, delivery: Delivery, inspector: Inspector) -> DicomImage:
    image = inspector.dicom(file.path)
    stated = inspector.stated(file.path)
    if stated is not None and stated != InstanceName(sop_class=image.sop_class, instance=image.instance):
        raise Refused(
            "INSTANCE_CONTRADICTS",
            "the data set is another instance than its sender states",
            "Send the instance again.",
        )
    if delivery.study_uid not in (None, image.study):
        raise Refused("OTHER_STUDY", "the instance is of another study than the request", "Send it to its own study.")
    return image


def _each_once(group: Sequence[_Found], delivery: Delivery, ports: IntakePorts) -> Receipts:
    """Of instances with one UID the first counts; equal ones share its receipt, others contradict it."""
    first: dict[str, _Found] = {}
    for found in group:
        first.setdefault(found.image.instance, found)
    receipts = _stored(list(first.values()), delivery, ports)
    for found in group:
        leader = first[found.image.instance]
        if found.image.fingerprint == leader.image.fingerprint:
            receipts[found.place] = receipts[leader.place]
        else:
            error = Conflict("INSTANCE_CONFLICT", "two instances of the delivery have one UID and different images")
            receipts[found.place] = Receipt(name=found.name, error=error)
    return receipts


def _stored(group: Sequence[_Found], delivery: Delivery, ports: IntakePorts) -> Receipts:
    """All at once; when some contradict what is stored, those are found by halving."""
    statements = Statements(lane=delivery.lane)
    try:
        submission = one_study([(found.image, found.file) for found in group], {}, statements)
        accepted = accept(submission, delivery.lane, delivery.door, ports, close=False)
    except Conflict as error:
        if len(group) == 1:
            return _refused(group, error)
        half = len(group) // 2
        return _stored(group[:half], delivery, ports) | _stored(group[half:], delivery, ports)
    except GlioServeError as error:
        return _refused(group, error)
    return {found.place: Receipt(name=found.name, study=accepted.study) for found in group}


def _refused(group: Sequence[_Found], error: GlioServeError) -> Receipts:
    return {found.place: Receipt(name=found.name, error=error) for found in group}
