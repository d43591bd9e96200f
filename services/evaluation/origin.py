"""What a measured line depends on beside its case: a line of another origin is never reused or mixed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.core.runtime.settings import affects_result
from services.fusion_segmentation.settings import FusionSettings
from services.phantom.frozen import GENERATOR_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Digests of the networks, digest of the settings that change a mask, version of the phantom generator."""

    models: Mapping[str, str]
    settings: str
    generator: int = GENERATOR_VERSION

    def stated(self) -> dict[str, Any]:
        """The fields as they stand in a line and in a report."""
        return {"models": dict(self.models), "settings": self.settings, "generator_version": self.generator}

    def made(self, row: Mapping[str, Any]) -> bool:
        """True for a line of this origin."""
        return all(row.get(name) == value for name, value in self.stated().items())


def settings_digest(settings: FusionSettings) -> str:
    """Digest of what changes a mask. Which networks are held is a verdict on the figures, not a part of them."""
    return affects_result(settings.model_copy(update={"held_models": ""}))
