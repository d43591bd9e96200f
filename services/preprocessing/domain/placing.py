"""Every series onto the reference: left where it is when it fits, registered when not, dropped when that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.core.contracts.errors import Refused
from services.core.contracts.manifest import Reason
from services.core.imaging.volume import Affine, Volume
from services.preprocessing.domain.choice import reference_of
from services.preprocessing.domain.reading import Reading
from services.preprocessing.domain.series import Found, Placed, Pulse
from services.preprocessing.domain.similarity import (
    Lattice,
    agreement,
    centred,
    lattice_of,
    nmi,
    rotation_and_shift,
)

LARGEST_TURN_DEG = 45.0
LARGEST_SHIFT_MM = 100.0
SMALLEST_NMI = 1.02
"""Two sequences of one head share more than this; unrelated images stay near 1.005 on this lattice."""


class Registration(Protocol):
    """Finds the rigid transform between two images of one head."""

    def align(self, fixed: Volume, moving: Volume, start: Affine, pulse: Pulse) -> Affine:
        """RAS mm of `fixed` to RAS mm of `moving`, from `start` on. Raises Refused when there is no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Largest distance of the best place: of a series that stays where it is, and after a registration."""

    aligned_mm: float
    lost_mm: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placing:
    """The reference and the others that found their place on it; problems of those that did not."""

    reference: Placed
    others: tuple[Placed, ...]
    problems: tuple[Reason, ...]
    dropped: dict[str, str]


class Placer:
    """Places series with a registration behind the port."""

    def __init__(self, registration: Registration, limits: Limits) -> None:
        self._registration = registration
        self._limits = limits

    def place(self, reading: Reading, pulse: Pulse) -> Placing:
        """Places all series of a reading."""
        slot = reference_of(reading.volumes)
        reference = Placed(
            found=reading.sources[slot],
            modality=slot,
            volume=reading.volumes[slot],
            from_reference=np.eye(4),
            placing="the reference",
        )
        lattice = lattice_of(reference.volume)
        others: list[Placed] = []
        problems: list[Reason] = []
        dropped: dict[str, str] = {}
        for modality, volume in reading.volumes.items():
            if modality is slot:
                continue
            pulse()
            found = reading.sources[modality]
            try:
                transform, how = self._transform(reference, lattice, found, volume, pulse)
            except Refused as error:
                dropped[found.series] = f"not used: {error.message}"
                problems.append(Reason(code=error.code, message=f"{modality}: {error.message}"))
                continue
            others.append(Placed(found=found, modality=modality, volume=volume, from_reference=transform, placing=how))
        return Placing(reference=reference, others=tuple(others), problems=tuple(problems), dropped=dropped)

    def _transform(
        self, reference: Placed, lattice: Lattice, found: Found, volume: Volume, pulse: Pulse
    ) -> tuple[Affine, str]:
        identity: Affine = np.eye(4)
        if _shares_space(reference.found, found):
            here = agreement(lattice, volume, identity)
            pulse()
            if here.nmi > SMALLEST_NMI and here.worst_mm <= self._limits.aligned_mm:
                return identity, f"already aligned, best place {here.worst_mm:.2f} mm away"
        shifted = centred(lattice, lattice_of(volume))
        start = max((identity, shifted), key=lambda transform: nmi(lattice, volume, transform))
        pulse()
        transform = self._registration.align(reference.volume, volume, start, pulse)
        there = agreement(lattice, volume, transform)
        turn, shift = rotation_and_shift(np.linalg.inv(shifted) @ transform, lattice.centre)
        if turn > LARGEST_TURN_DEG or shift > LARGEST_SHIFT_MM or there.nmi < SMALLEST_NMI:
            raise Refused("REGISTRATION_FAILED", "it does not show the same head in a plausible position")
        if there.worst_mm > self._limits.lost_mm:
            raise Refused("REGISTRATION_FAILED", "its position on the reference is ambiguous")
        turn, shift = rotation_and_shift(transform, lattice.centre)
        return transform, f"registered, turned {turn:.1f} degrees and shifted {shift:.1f} mm"


def _shares_space(reference: Found, other: Found) -> bool:
    """The same frame of reference, or the same grid where there are no frames."""
    return (reference.space != "" and reference.space == other.space) or reference.grid.same_as(other.grid, 0.01)
