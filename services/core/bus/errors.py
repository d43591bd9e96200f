"""Errors of a bus. Both are Transient: nothing that was acknowledged is lost by them.

Transient
├── BusUnavailable   the broker or the log's file does not answer: try again for as long as it takes
└── Fenced           another member owns the partition now and delivers the record again: go on polling
"""

from __future__ import annotations

from services.core.contracts.errors import Transient


class BusUnavailable(Transient):
    """The operation may or may not have happened; repeat it."""

    def __init__(self, message: str) -> None:
        super().__init__("BUS_UNAVAILABLE", message, "Check that the broker runs and that the disk has space.")


class Fenced(Transient):
    """A commit came too late: the partition has another owner."""

    def __init__(self, topic: str, partition: int) -> None:
        super().__init__("FENCED", f"partition {partition} of {topic} has another owner now")
