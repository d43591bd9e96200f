"""An upload before acceptance: its files in staging, what the sender says about them, and the limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from services.core.contracts.enums import STRUCTURAL, Lane, Modality
from services.core.contracts.errors import Refused

_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:T(\d{2}):?(\d{2})(?::?(\d{2}))?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A received file. `name` is the sender's: it may hold identity and is neither stored nor logged."""

    path: Path
    size: int
    name: str = field(repr=False)
    slot: Modality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one upload may hold. Bytes are counted as they arrive, unpacked ones as they are unpacked."""

    total_bytes: int
    file_bytes: int
    unpacked_bytes: int
    files: int
    depth: int
    ratio: int


class FileKind(StrEnum):
    """What a file's first bytes say that it is."""

    DICOM = "dicom"
    NIFTI = "nifti"
    GZIP = "gzip"
    ZIP = "zip"
    ARCHIVE = "archive"
    EMPTY = "empty"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What the sender says beside the files. `sequences` maps a file's name to its slot."""

    lane: Lane = Lane.ROUTINE
    patient: str | None = field(default=None, repr=False)
    acquired_at: str | None = None
    sequences: Mapping[str, Modality] = field(default_factory=dict, repr=False)


def parse_statements(lane: str | None, patient: str | None, acquired: str | None, sequences: list[str]) -> Statements:
    """Raises Refused: BAD_LANE, BAD_PATIENT, BAD_DATE, BAD_SEQUENCE."""
    return Statements(
        lane=_lane(lane),
        patient=_patient(patient),
        acquired_at=_moment(acquired),
        sequences=_sequences(sequences),
    )


def _lane(text: str | None) -> Lane:
    if text in (None, "", Lane.STAT, Lane.ROUTINE):
        return Lane(text or Lane.ROUTINE)
    raise Refused("BAD_LANE", "the lane is neither stat nor routine")


def _patient(text: str | None) -> str | None:
    if not text or not text.strip():
        return None
    if len(text) > 64 or not text.isprintable() or "\\" in text:  # the rules of DICOM's LO (PS3.5 6.2)
        raise Refused("BAD_PATIENT", "a patient id has at most 64 printable characters and no backslash")
    return text.strip()


def _moment(text: str | None) -> str | None:
    """`YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`, local time of the site; both sort as text."""
    if not text:
        return None
    found = _DATE.fullmatch(text)
    if found is None:
        raise Refused("BAD_DATE", "a date of acquisition is YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS")
    try:
        moment = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        raise Refused("BAD_DATE", "there is no such day or time") from None
    return moment.isoformat() if found.group(4) else moment.date().isoformat()


def _sequences(texts: list[str]) -> dict[str, Modality]:
    chosen: dict[str, Modality] = {}
    for text in texts:
        slot, mark, name = text.partition("=")
        if not mark or not name or slot.lower() not in STRUCTURAL:
            raise Refused("BAD_SEQUENCE", "a sequence is SLOT=FILE", f"Slots: {', '.join(STRUCTURAL)}.")
        chosen[name] = Modality(slot.lower())
    return chosen
