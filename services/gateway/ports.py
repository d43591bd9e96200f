"""What the gateway's use cases need from outside. Adapters fulfil it; `bootstrap` chooses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from services.core.contracts.enums import Completeness, Lane, Modality, Verdict
from services.core.contracts.events import BlobRef, ManifestRef, StageOutcome, StageRequest, StudyRef
from services.core.contracts.ids import JsonValue, PatientKey, StudyKey
from services.gateway.domain.history import HistoryEvent, HistoryRow
from services.gateway.domain.identity import Identity, StudyModule
from services.gateway.domain.intake import Instance, StudyFacts, StudyRow
from services.gateway.domain.records import PatientRecord, StudyRecord
from services.gateway.domain.upload import FileKind, StagedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A report that may be current: of a version, of a revision, with its named outputs."""

    study: StudyKey
    version: int
    revision: int
    manifest: ManifestRef
    completeness: Completeness
    verdict: Verdict
    outputs: Mapping[str, BlobRef]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IntraoperativeRow:
    """A mask of the operating room. `study` is the version that its session started with, or one of its own."""

    study: StudyRef
    manifest: ManifestRef
    completeness: Completeness
    verdict: Verdict
    acquired_at: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """A message that is to be sent; `seq` is the order."""

    seq: int
    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxClaim:
    """Messages that this gateway alone sends now, in order; `mark` says that one is durable on the bus."""

    rows: Sequence[OutboxRow]
    mark: Callable[[OutboxRow, datetime], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRequest:
    """A request of a current version without an outcome, its message sent, last at `emitted_at`."""

    request: StageRequest
    emitted_at: datetime


class Transaction(Protocol):
    """Changes that become durable together, or not at all."""

    def lock(self, patient: PatientKey, now: datetime) -> None:
        """Keeps other writers from this patient until the end; makes the patient when it is new."""

    def patient(self, patient: PatientKey) -> PatientRecord:
        """All studies of the patient that have a version."""

    def patient_of(self, study: StudyKey) -> PatientKey | None:
        """Whose study it is, or None."""

    def add_request(self, request: StageRequest, trace: Mapping[str, str]) -> None:
        """Records a request and puts its message into the outbox."""

    def send_again(self, request: StageRequest, now: datetime) -> None:
        """Puts the message of a pending request into the outbox once more."""

    def settle(self, outcome: StageOutcome, now: datetime) -> None:
        """Records the final outcome of a pending request."""

    def add_result(self, row: ResultRow) -> None:
        """Records a report; the highest revision of the current version is the current result."""

    def add_intraoperative(self, row: IntraoperativeRow) -> bool:
        """Records a mask of the operating room; False when its run is recorded already."""

    def add_history(
        self, study: StudyKey, version: int, event: HistoryEvent, now: datetime, **detail: JsonValue
    ) -> None:
        """Adds a row to the study's history. Never identity."""

    def study(self, study: StudyKey) -> StudyRow | None:
        """The study as it stands, or None."""

    def add_study(self, facts: StudyFacts, now: datetime) -> StudyRow:
        """Opens a study at version 0."""

    def instances(self, study: StudyKey) -> list[Instance]:
        """Everything accepted so far, closed or not."""

    def fingerprints(self, study: StudyKey, instances: Sequence[str]) -> dict[str, str]:
        """Of these instances those that are accepted, with their fingerprints."""

    def open_instances(self, study: StudyKey) -> int:
        """How many accepted instances are in no version yet."""

    def add_instances(self, study: StudyKey, found: Sequence[Instance], door: str, now: datetime) -> None:
        """Adds instances that are not there yet."""

    def close_at(self, study: StudyKey, moment: datetime | None) -> None:
        """When the study closes by itself; None: it does not."""

    def add_version(self, study: StudyKey, version: int, intake: ManifestRef, now: datetime) -> None:
        """Makes the union of all accepted instances the current version."""

    def set_acquired_at(self, study: StudyKey, moment: str | None) -> None:
        """When the study was acquired, ISO 8601."""

    def set_lane(self, study: StudyKey, lane: Lane) -> None:
        """Changes the lane of requests still to be made."""


class StateStore(Protocol):
    """The gateway's durable state."""

    def write(self) -> AbstractContextManager[Transaction]:
        """Commits durably at the end. Raises Transient when the store cannot be used."""

    def quiet_studies(self, now: datetime) -> list[StudyKey]:
        """Studies whose quiet period is over."""

    def unsent(self, limit: int) -> list[OutboxRow]:
        """The oldest messages that are to be sent, in order."""

    def claim(self, limit: int) -> AbstractContextManager[OutboxClaim]:
        """Messages that no other gateway sends meanwhile, per patient in order; the marks are durable at its end.

        Raises Transient, also the one that ended the sending.
        """

    def forget_sent(self, before: datetime) -> None:
        """Drops messages that were sent before this moment: the bus has them."""

    def pending(self, emitted_before: datetime) -> list[PendingRequest]:
        """Requests of current versions without an outcome that were last sent before this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceName:
    """SOP class and instance UID: how senders and answers name an instance."""

    sop_class: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomImage:
    """One MR instance: its UIDs, digest of pixels and geometry, time of acquisition (ISO 8601), and whose it is."""

    sop_class: str
    instance: str
    series: str
    study: str
    fingerprint: str
    acquired_at: str | None
    identity: Identity = field(repr=False)
    module: StudyModule = field(default_factory=StudyModule, repr=False)


class Inspector(Protocol):
    """Looks into received files."""

    def kind(self, path: Path) -> FileKind:
        """By the first bytes, never by the name."""

    def nifti(self, path: Path) -> str:
        """Digest of voxels and geometry. Raises Refused on a file that cannot be used."""

    def dicom(self, path: Path) -> DicomImage:
        """What identifies one instance. Raises Refused, with the code NOT_MR for what is no MR image."""

    def stated(self, path: Path) -> InstanceName | None:
        """What a DICOM file says that it holds, without a look at it; None where it does not say it."""


class IdentityVault(Protocol):
    """Pseudonyms and who is behind them."""

    def pseudonym(self, issuer: str, patient_id: str) -> PatientKey:
        """Keyed HMAC of (issuer, PatientID)."""

    def remember(self, patient: PatientKey, identity: Identity, now: datetime) -> None:
        """Keeps who it is, durably."""

    def identity(self, patient: PatientKey) -> Identity | None:
        """Who is behind a pseudonym, or None."""

    def remember_study(self, study: StudyKey, module: StudyModule, now: datetime) -> None:
        """Keeps what names people or orders in a study's headers, durably."""

    def study_module(self, study: StudyKey) -> StudyModule:
        """What was kept of a study; empty when nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version of a study: how many instances it holds and when it was accepted."""

    version: int
    instances: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """All that is shown of a study. `record` is None before the first version; `last_change` numbers its history."""

    row: StudyRow
    record: StudyRecord | None
    result: ResultRow | None
    last_change: int


class Views(Protocol):
    """What is read to be shown."""

    def study(self, study: StudyKey) -> StudyView | None:
        """One study, or None."""

    def studies(self, limit: int, before: datetime | None = None) -> list[StudyView]:
        """The newest studies, or those opened before a moment."""

    def versions(self, study: StudyKey) -> list[VersionRow]:
        """All versions, oldest first."""

    def history(self, study: StudyKey, after: int = 0) -> list[HistoryRow]:
        """Rows of the history after a number, oldest first."""

    def intraoperative(self, study: StudyKey) -> list[IntraoperativeRow]:
        """Masks of the operating room, oldest first."""

    def last_change(self, study: StudyKey) -> int:
        """Number of the newest history row; 0 when there is none."""

    def state_counts(self) -> dict[str, int]:
        """How many studies are in which state."""


class Stamper(Protocol):
    """Puts the identity back into a result when it leaves (rule 10)."""

    def applies(self, name: str) -> bool:
        """True when this output carries an identity; others are streamed as they are stored."""

    def stamp(self, view: StudyView, name: str, stored: bytes) -> bytes:
        """The output with the patient's own identity in it. Raises Permanent when it cannot be stamped."""


class Upload(Protocol):
    """One upload in staging: `begin`, `write`, ..., `end` for each file. Leaving its context deletes it all."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Deletes what was received."""

    def begin(self, name: str, slot: Modality | None = None) -> None:
        """A new file. Raises Refused on an unsafe name, TooLarge on too many or too deep ones."""

    def write(self, chunk: bytes) -> None:
        """More bytes of the open file. Raises TooLarge, NoSpace."""

    def end(self) -> None:
        """The open file is whole."""

    @property
    def files(self) -> tuple[StagedFile, ...]:
        """All files that are whole."""

    def unpack(self, archive: StagedFile) -> tuple[StagedFile, ...]:
        """The files of a ZIP. Raises Refused, TooLarge, NoSpace."""


class Staging(Protocol):
    """Where uploads lie before acceptance."""

    def receive(self, announced: int = 0) -> Upload:
        """Begins an upload. Raises NoSpace, TooLarge when the announced length exceeds the limit."""
