"""What the sessions need from outside. Adapters fulfil it; `bootstrap` chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.core.contracts.enums import Modality
from services.core.contracts.events import ManifestRef, StageOutcome, StageRequest, StudyRef
from services.core.contracts.ids import BlobDigest, PatientKey
from services.core.contracts.manifest import Manifest
from services.navigation.domain.answers import MaskAnswer, MaskKind
from services.navigation.domain.orders import SeriesOrder
from services.navigation.domain.pose_state import Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStudy:
    """A study's current version as a session starts with it; what was prepared lies in the theatre's store."""

    study: StudyRef
    prepared: ManifestRef | None
    modalities: tuple[Modality, ...]


class StudySource(Protocol):
    """The gateway's internal door."""

    async def study(self, study: str, session: str) -> KnownStudy:
        """Asks once and copies what was prepared. Raises Fault STUDY_UNKNOWN, Transient when the gateway is away."""


class Stages(Protocol):
    """The theatre's own preparation and segmentation."""

    async def run(self, request: StageRequest, session: str, within_s: float) -> StageOutcome:
        """Runs a stage. Cancelling the task cancels the run. Raises Transient, Permanent or Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A series that came in whole: its name in the session, its id in the intake and its slot (None: to be found out).
    `patient` None: its files name nobody.
    """

    series: str
    series_id: str
    intake: ManifestRef
    manifest: Manifest
    digest: BlobDigest
    acquired_at: str | None
    patient: PatientKey | None


class Material(Protocol):
    """Series and results in the theatre's store. Its calls block: run them in a thread."""

    def begin(self, session: str) -> None:
        """Makes room for a session."""

    def within(self, session: str) -> AbstractContextManager[None]:
        """What this context (and the tasks and threads that it starts) reads and writes is the session's."""

    def held_bytes(self) -> int:
        """Memory that all sessions take."""

    def uploads(self, session: str, series: str) -> Path:
        """An empty folder for the files of a series."""

    def received(self, order: SeriesOrder, files: Sequence[Path], digest: BlobDigest, study: StudyRef) -> Received:
        """Files to blobs and an intake manifest; removes the files. Raises Fault SERIES_UNREADABLE."""

    def manifest(self, ref: ManifestRef) -> Manifest:
        """The manifest behind a reference."""

    def answer(self, kind: MaskKind, received: Received, prepared: Manifest, result: ManifestRef) -> MaskAnswer:
        """The mask of a segmentation run, in the frame of the series. Raises Permanent."""

    def around(self, prepared: Manifest, coarse: ManifestRef) -> Surroundings:
        """Brain and tumour probability in the box of a coarse run's masks. Raises Permanent, Transient."""

    def discard(self, session: str, series: str) -> None:
        """Removes the files of a series that are still there: it was refused, cancelled or late."""

    def tidy(self, session: str, prepared: ManifestRef | None, in_use: Sequence[ManifestRef]) -> None:
        """Frees the blobs of a session but the prepared volumes of a run, what the runs `in_use` hold, and what they
        were made from. Call while no series is computed.
        """

    def forget(self, session: str) -> None:
        """Frees everything that a session holds."""


class Poses(Protocol):
    """What the pose process reads."""

    async def show(self, token: str, answer: MaskAnswer, around: Surroundings) -> None:
        """Distance fields of a mask; returns when they are there."""

    def outdated(self, token: str) -> None:
        """The anatomy has changed and its mask is not there yet."""

    def opened(self, token: str) -> None:
        """The session exists; it has no mask yet."""

    def forget(self, token: str) -> None:
        """The session is over."""


class Results(Protocol):
    """Durable storage after the final mask."""

    def keep(self, study: StudyRef, received: Received, result: ManifestRef) -> None:
        """Stores series and masks, and spools the report to the gateway. Blocks. Raises Transient."""


class TheatreLock(Protocol):
    """Makes the ward wait (rule 7)."""

    def held(self) -> AbstractContextManager[None]:
        """Holds the lock while the context lasts; many may hold it."""
