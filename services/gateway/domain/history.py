"""What may stand in a study's history. Details hold numbers, codes and stages, never identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.core.contracts.ids import JsonValue, StudyKey


class HistoryEvent(StrEnum):
    """Names of history rows; clients of the event stream see them."""

    OPENED = "study.opened"
    INSTANCES = "study.instances_accepted"
    VERSION = "study.version_accepted"
    SUPERSEDED = "study.version_superseded"
    LANE = "study.lane_changed"
    REQUESTED = "stage.requested"
    SENT_AGAIN = "stage.sent_again"
    FINISHED = "stage.finished"
    RESULT = "result.current"
    THEATRE = "theatre.mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One thing that happened to a study; `seq` grows with time over all studies."""

    seq: int
    study: StudyKey
    version: int
    event: HistoryEvent
    detail: Mapping[str, JsonValue]
    at: datetime
