"""Settings of the segmentation, GLIOSERVE_FUSION_SEGMENTATION__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.core.contracts.enums import Lane
from services.core.runtime.settings import ServiceSettings
from services.fusion_segmentation.domain.postprocess import MaskRules

_RESULT: dict[str, Any] = {"affects_result": True}


class Deadlines(ServiceSettings):
    """How long one call of a model may take, queueing included, by lane; seconds."""

    theatre: float = Field(default=5.0, gt=0, description="A mask later than this is of no use to the surgeon.")
    stat: float = Field(default=30.0, gt=0)
    routine: float = Field(default=90.0, gt=0)

    def of(self, lane: Lane) -> float:
        """Seconds for a lane."""
        return {Lane.THEATRE: self.theatre, Lane.STAT: self.stat, Lane.ROUTINE: self.routine}[lane]


class FusionSettings(ServiceSettings):
    """What the segmentation can be told from outside."""

    max_crops: int = Field(
        default=4, ge=1, le=8, description="Calls of the fine model at most.", json_schema_extra=_RESULT
    )
    crop_margin_mm: int = Field(
        default=4, ge=0, le=24, description="Room around the coarse tumour inside the crops.", json_schema_extra=_RESULT
    )
    min_lesion_voxels: int = Field(
        default=24, ge=1, description="Smaller connected lesions (1 mm voxels) are dropped.", json_schema_extra=_RESULT
    )
    sure_enhancement: float = Field(
        default=0.4,  # with T1c: of 28 selection phantoms those without a rim reach .1 at most, others .6
        ge=0,
        le=1,
        description="Enhancing tissue counts only when the network is that sure of it somewhere; else it is core.",
        json_schema_extra=_RESULT,
    )
    sure_lesion: float = Field(
        default=0.0,  # off: of 28 healthy phantoms 27 stay below 1 ml with 0.93 and without; a faint tumour would go
        ge=0,
        le=1,
        description="A lesion counts only when the network believes in it that much somewhere; else it is dropped.",
        json_schema_extra=_RESULT,
    )
    review_vacuity: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Mean vacuity in the tumour above which a person looks.",
        json_schema_extra=_RESULT,
    )
    implausible_ml: float = Field(
        default=300.0, gt=0, description="Whole tumour above which a person looks.", json_schema_extra=_RESULT
    )
    unknown_labels: str = Field(
        default="",
        pattern=r"^((NCR|SNFH|ET|RC)(,(NCR|SNFH|ET|RC))*)?$",
        description="Labels that the served networks were never taught: their volume is not available, not 0 ml.",
        json_schema_extra=_RESULT,
    )
    held_models: str = Field(
        default="sha256:bf7b0d6383c58cde3330aa33df7221b0b9a74ee8223fcfeadbe937bb06baa697",
        description="Digests of networks below their release bar (model cards): every mask of theirs asks for review.",
        json_schema_extra=_RESULT,
    )
    native_outputs: bool = Field(
        default=True,
        description="Masks on the reference's own grid too; volumes are then theirs. The theatre leaves them out.",
        json_schema_extra=_RESULT,
    )
    deadlines: Deadlines = Deadlines()

    @property
    def mask_rules(self) -> MaskRules:
        """What a finished mask must obey."""
        return MaskRules(min_voxels=self.min_lesion_voxels, sure=self.sure_enhancement, lesion=self.sure_lesion)
