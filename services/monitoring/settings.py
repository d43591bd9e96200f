"""Settings of the comparison, GLIOSERVE_MONITORING__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.core.runtime.settings import ServiceSettings

_RESULT: dict[str, Any] = {"affects_result": True}


class MonitoringSettings(ServiceSettings):
    """Numbers of the wording. The defaults are the volumetric thresholds of RANO 2.0."""

    increase_percent: float = Field(
        default=40.0, gt=0, description="Growth of a volume worth naming.", json_schema_extra=_RESULT
    )
    decrease_percent: float = Field(
        default=65.0, gt=0, lt=100, description="Shrinkage of a volume worth naming.", json_schema_extra=_RESULT
    )
    min_ml: float = Field(
        default=0.5,
        ge=0,
        description="Volumes that stay below this (a ball of 10 mm) get no percentage in words.",
        json_schema_extra=_RESULT,
    )
