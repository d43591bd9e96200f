"""What a session says and hears, free of any wire format. `Reason` has the names of the proto's enum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Completeness, Modality
from services.core.contracts.errors import Refused
from services.core.contracts.ids import BlobDigest, RunId
from services.core.contracts.manifest import ModelRef


class Reason(StrEnum):
    """Why something was refused, degraded or ended."""

    START_EXPECTED = "START_EXPECTED"
    DEADLINE_MISSING = "DEADLINE_MISSING"
    DEADLINE_ABSURD = "DEADLINE_ABSURD"
    SESSION_ELSEWHERE = "SESSION_ELSEWHERE"
    SESSION_LOST = "SESSION_LOST"
    SESSION_TAKEN_UP_ELSEWHERE = "SESSION_TAKEN_UP_ELSEWHERE"
    DRAINING = "DRAINING"
    TOO_MANY_SESSIONS = "TOO_MANY_SESSIONS"
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    STUDY_UNKNOWN = "STUDY_UNKNOWN"
    STUDY_UNAVAILABLE = "STUDY_UNAVAILABLE"
    SERIES_NAME_INVALID = "SERIES_NAME_INVALID"
    SERIES_REPEATED = "SERIES_REPEATED"
    SERIES_UNKNOWN = "SERIES_UNKNOWN"
    FORMAT_UNKNOWN = "FORMAT_UNKNOWN"
    MODALITY_UNKNOWN = "MODALITY_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    MEMORY_FULL = "MEMORY_FULL"
    CHUNK_TOO_LARGE = "CHUNK_TOO_LARGE"
    CHUNK_CORRUPT = "CHUNK_CORRUPT"
    SEQUENCE_BROKEN = "SEQUENCE_BROKEN"
    DIGEST_WRONG = "DIGEST_WRONG"
    UPLOAD_SILENT = "UPLOAD_SILENT"
    SERIES_UNREADABLE = "SERIES_UNREADABLE"
    GEOMETRY_MISMATCH = "GEOMETRY_MISMATCH"
    OTHER_PATIENT = "OTHER_PATIENT"
    REGISTRATION_FAILED = "REGISTRATION_FAILED"
    ANATOMY_CHANGED = "ANATOMY_CHANGED"
    INPUT_POOR = "INPUT_POOR"
    DEADLINE_NEAR = "DEADLINE_NEAR"
    PREPARATION_FAILED = "PREPARATION_FAILED"
    INFERENCE_UNAVAILABLE = "INFERENCE_UNAVAILABLE"
    INFERENCE_FAILED = "INFERENCE_FAILED"
    CANCELLED = "CANCELLED"


def said(code: str, otherwise: Reason) -> Reason:
    """A stage's error code as a reason, or the general one where the theatre has no name of its own for it."""
    return Reason(code) if code in Reason.__members__ else otherwise


class Fault(Refused):
    """A refusal with one of the theatre's reasons."""

    def __init__(self, reason: Reason, message: str, advice: str = "") -> None:
        super().__init__(str(reason), message, advice)
        self.reason = reason

    def limit(self) -> Limit:
        """The same as a part of an answer."""
        return Limit(reason=self.reason, message=self.message, advice=self.advice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A reason in words, and what the reader can do about it."""

    reason: Reason
    message: str
    advice: str = ""


class MaskKind(StrEnum):
    """2 mm and first, or 1 mm."""

    COARSE = "coarse"
    FINAL = "final"


class Step(StrEnum):
    """Where a series is."""

    RECEIVED = "received"
    WAITING = "waiting"
    PREPARING = "preparing"
    COARSE = "coarse"
    FINE = "fine"
    STORING = "storing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The session is open. `limit`: it was asked for a study and started without it."""

    token: str
    modalities: tuple[Modality, ...] = ()
    limit: Limit | None = None
    upload: str = ""
    next_chunk: int = 0
    poses_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a series is."""

    series: str
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """Labels and vacuity (0 to 255), uint8 (x, y, z) packed by zlib; `affine`: voxel centres to patient RAS mm of the
    series that is answered. Volumes in ml, mean vacuity 0 to 1.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    label_schema: str
    labels_zlib: bytes
    vacuity_zlib: bytes
    volumes_ml: Mapping[str, float]
    mean_vacuity: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskAnswer:
    """One mask. `arrived`, `answered_by`: monotonic moments of the last chunk and the deadline; the door makes times of
    them.
    """

    series: str
    series_digest: BlobDigest
    kind: MaskKind
    completeness: Completeness
    needs_review: bool
    limits: tuple[Limit, ...]
    mask: Mask
    models: tuple[ModelRef, ...]
    run_id: RunId
    used: tuple[Modality, ...]
    unavailable: tuple[Modality, ...]
    acquired_at: str | None
    arrived: float = 0.0
    answered_by: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Degraded:
    """The last word on a series without a final mask in time: why, and the best mask so far."""

    series: str
    series_digest: BlobDigest
    limit: Limit
    best: MaskAnswer | None
    answered_by: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRefused:
    """A series that cannot be used."""

    series: str
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesCancelled:
    """A series that is not wanted any more."""

    series: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded:
    """The stream closes."""

    limit: Limit


Answer: TypeAlias = "Accepted | Progress | MaskAnswer | Degraded | SeriesRefused | SeriesCancelled | SessionEnded"
