"""What a client asks for, checked: the start of a session and the headers of its series."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from services.core.contracts.enums import Modality
from services.core.contracts.facts import Source
from services.navigation.domain.answers import Fault, MaskKind, Reason

SHORTEST_S, LONGEST_S = 0.5, 30.0
"""Deadlines that make sense in an operating room; a longer one is a mistake in its unit."""
MAX_FILES = 4096
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Opens a session. `deadline_s` None: every series names its own."""

    study: str
    deadline_s: float | None
    wanted: frozenset[MaskKind]


class Format(StrEnum):
    """How a series travels."""

    NIFTI = "nifti"
    DICOM = "dicom"

    @property
    def source(self) -> Source:
        """The same in an intake manifest."""
        return Source(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOrder:
    """A series to come: `file_sizes` in bytes, the deadline in seconds from its last chunk."""

    series: str
    format: Format
    modality: Modality | None
    file_sizes: tuple[int, ...]
    deadline_s: float
    anatomy_changed: bool

    @property
    def total_bytes(self) -> int:
        """All files together."""
        return sum(self.file_sizes)


def checked_deadline(asked: float | None, default: float | None) -> float:
    """Seconds from the last chunk to the final mask. Raises Fault."""
    deadline = default if asked is None else asked
    if deadline is None:
        raise Fault(
            Reason.DEADLINE_MISSING, "neither the series nor the session has a deadline", "Name one of the two."
        )
    if not SHORTEST_S <= deadline <= LONGEST_S:
        raise Fault(
            Reason.DEADLINE_ABSURD,
            f"a deadline of {deadline:g} s is not between {SHORTEST_S:g} and {LONGEST_S:g} s",
            "Deadlines count from the last chunk of a series, in seconds.",
        )
    return deadline


def checked_order(order: SeriesOrder, largest_bytes: int) -> SeriesOrder:
    """The order itself. Raises Fault when its parts make no sense."""
    if not _NAME.fullmatch(order.series):
        raise Fault(Reason.SERIES_NAME_INVALID, "the name of a series is 1 to 64 of A-Z a-z 0-9 . _ -")
    if not order.file_sizes or min(order.file_sizes) < 1 or len(order.file_sizes) > MAX_FILES:
        raise Fault(Reason.SIZE_INVALID, f"a series has 1 to {MAX_FILES} files, none of them empty")
    if order.total_bytes > largest_bytes:
        raise Fault(Reason.SIZE_INVALID, f"a series may have {largest_bytes} bytes, not {order.total_bytes}")
    if order.format is Format.NIFTI and len(order.file_sizes) != 1:
        raise Fault(Reason.SIZE_INVALID, "a NIfTI series is one file")
    if order.format is Format.NIFTI and order.modality is None:
        raise Fault(Reason.MODALITY_UNKNOWN, "a NIfTI file does not say its sequence", "Name it in the header.")
    return order
