"""Settings of the preparation, GLIOSERVE_PREPROCESSING__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.core.runtime.settings import ServiceSettings

_RESULT: dict[str, Any] = {"affects_result": True}


class PrepareSettings(ServiceSettings):
    """What is done to a study, and from where on it is called degraded."""

    n4: bool = Field(default=True, description="Correct the bias field (N4).", json_schema_extra=_RESULT)
    n4_grid_mm: float = Field(
        default=8.0, ge=4, le=16, description="Grid on which N4 works.", json_schema_extra=_RESULT
    )
    n4_iterations: str = Field(
        default="50,50",
        pattern=r"^[1-9]\d{0,2}(,[1-9]\d{0,2}){0,3}$",
        description="N4 iterations, one number a level.",
        json_schema_extra=_RESULT,
    )
    aligned_mm: float = Field(
        default=0.4,
        gt=0,
        description="A series whose best place is nearer than this is not registered.",
        json_schema_extra=_RESULT,
    )
    lost_mm: float = Field(
        default=2.0,
        gt=0,
        description="A registration that ends further than this from the best place has failed.",
        json_schema_extra=_RESULT,
    )
    thick_mm: float = Field(
        default=4.0, gt=0, description="Slices thicker than this degrade the result.", json_schema_extra=_RESULT
    )
    unusable_mm: float = Field(
        default=10.0, gt=0, description="Slices thicker than this are not used.", json_schema_extra=_RESULT
    )
    threads: int = Field(default=2, ge=1, le=64, description="Threads of registration and N4.")
