"""Settings of the subtyping, GLIOSERVE_MOLECULAR_SUBTYPING__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.core.contracts.enums import Marker
from services.core.runtime.settings import ServiceSettings

_RESULT: dict[str, Any] = {"affects_result": True}


class SubtypeSettings(ServiceSettings):
    """When the stage says something about a marker, and when it rather says nothing."""

    max_vacuity: float = Field(
        default=0.55,  # more than any of 108 held-out phantoms left unknown: the distance below decides
        ge=0,
        le=1,
        description="A marker whose evidence leaves more than this unknown is not decided.",
        json_schema_extra=_RESULT,
    )
    min_distance: float = Field(
        default=0.3,  # of 108 held-out phantoms nine in ten answers on IDH were right; with 0.2 five in six
        ge=0,
        le=0.5,
        description="How far the calibrated probability must be from 0.5.",
        json_schema_extra=_RESULT,
    )
    decide_mgmt: bool = Field(
        default=False,
        description="Decide MGMT too. Public models reach an AUC near 0.6 on it: not enough to say anything.",
        json_schema_extra=_RESULT,
    )
    decide_h3k27m: bool = Field(
        default=False,
        description="Decide H3 K27M too. It is so rare in the training that the shipped networks only repeat that.",
        json_schema_extra=_RESULT,
    )

    @property
    def silent(self) -> frozenset[Marker]:
        """Markers that are never decided."""
        allowed = {Marker.MGMT: self.decide_mgmt, Marker.H3K27M: self.decide_h3k27m}
        return frozenset(marker for marker, decided in allowed.items() if not decided)
