"""Settings of the report stage. All of them change what a report holds, so all enter the settings hash."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.core.runtime.settings import ServiceSettings


class ReportingSettings(ServiceSettings):
    """GLIOSERVE_REPORTING__*."""

    writer: Literal["1"] = Field(
        default="1",
        description="Version of the report's layout and of the DICOM objects; raised when their bytes change.",
        json_schema_extra={"affects_result": True},
    )
    key_images: bool = Field(
        default=True,
        description="Show slices through the tumour in the PDF.",
        json_schema_extra={"affects_result": True},
    )
    segmentation_series_number: int = Field(
        default=9001,
        ge=1,
        le=99999,
        description="SeriesNumber of the DICOM segmentation within the study.",
        json_schema_extra={"affects_result": True},
    )
