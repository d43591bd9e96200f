"""What the preparation needs from outside."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.core.contracts.facts import IntakeFacts
from services.core.contracts.manifest import Manifest
from services.preprocessing.domain.box import BiasCorrection
from services.preprocessing.domain.placing import Registration
from services.preprocessing.domain.quick_placing import QuickRegistration
from services.preprocessing.domain.series import Found, Pulse, Unreadable


class Intake(Protocol):
    """Files of an intake manifest as series."""

    def series(
        self, manifest: Manifest, facts: IntakeFacts, pulse: Pulse
    ) -> AbstractContextManager[list[Found | Unreadable]]:
        """Every series, readable while the context lasts. Raises Permanent or Transient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The ports of the stage. `bias` None: no correction. `quick`: the registration of the theatre."""

    intake: Intake
    registration: Registration
    quick: QuickRegistration
    bias: BiasCorrection | None
