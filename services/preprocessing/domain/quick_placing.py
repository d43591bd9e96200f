"""One new series onto a prepared study, as fast as is safe: where it should lie already, else registered at 2 mm.

Every place is proved by the same agreement that the ward asks for; only what stays doubtful at 2 mm is registered on
the voxels themselves. What does not fit is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.errors import Refused
from services.core.contracts.facts import PrepareFacts
from services.core.imaging.volume import Affine, Array, Grid, Volume
from services.preprocessing.domain.placing import LARGEST_SHIFT_MM, LARGEST_TURN_DEG, SMALLEST_NMI, Limits
from services.preprocessing.domain.series import Found, Pulse
from services.preprocessing.domain.similarity import (
    Agreement,
    Lattice,
    agreement,
    centred,
    lattice_inside,
    lattice_of,
    nmi,
    rotation_and_shift,
    seen,
)

QUICK_MM = 2.0
LEAST_SEEN = 1 / 3
"""Less of the brain than this is no series of a head in a plausible place."""
SMALLEST_EDGE_MM, LARGEST_EDGE_MM = 30.0, 600.0
_RESEND = "Check that the series shows this patient's head and send it again."


class QuickRegistration(Protocol):
    """The two steps of a rigid registration, asked one by one. Transforms: RAS mm of `fixed` to RAS mm of `moving`."""

    def align_coarsely(self, fixed: Volume, moving: Volume, start: Affine) -> Affine:
        """From anywhere near. Raises Refused when there is no result."""

    def align_finely(self, fixed: Volume, moving: Volume, start: Affine) -> Affine:
        """From within a few mm. Raises Refused when there is no result."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What a session has prepared: its facts, the brain mask and one of its volumes, all in the canonical box."""

    facts: PrepareFacts
    mask: Volume
    fixed: Volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuickPlace:
    """RAS mm of the reference to RAS mm of the series, and how it was found."""

    from_reference: Affine
    placing: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    lattice: Lattice
    fixed: Volume
    moving: Volume
    centre: Affine


class QuickPlacer:
    """Places a series with a registration behind the port."""

    def __init__(self, registration: QuickRegistration, limits: Limits) -> None:
        self._registration = registration
        self._limits = limits

    def place(self, ground: Ground, found: Found, volume: Volume, pulse: Pulse) -> QuickPlace:
        """Raises Refused: GEOMETRY_MISMATCH before any registration, REGISTRATION_FAILED after it."""
        check_extent(found.grid)
        lattice = lattice_inside(ground.fixed, ground.mask)
        known = known_places(ground.facts, found)
        _check_overlap(lattice, found, known)
        small = shrunk_volume(volume, QUICK_MM)
        pulse()
        search = _Search(
            lattice=lattice,
            fixed=shrunk_volume(ground.fixed, QUICK_MM),
            moving=small,
            centre=centred(lattice, lattice_of(small)),
        )
        start, is_known = _best_start(search, known)
        pulse()
        if seen(lattice, volume.grid, start) < LEAST_SEEN:
            raise Refused("GEOMETRY_MISMATCH", "the series shows less than a third of the study's brain", _RESEND)
        if is_known:
            here = agreement(lattice, small, start)
            pulse()
            if here.nmi > SMALLEST_NMI and here.worst_mm <= self._limits.aligned_mm:
                return QuickPlace(
                    from_reference=start, placing=f"where its header says, best place {here.worst_mm:.2f} mm away"
                )
        return self._registered(search, volume, ground.fixed, start, pulse)

    def _registered(self, search: _Search, volume: Volume, fixed: Volume, start: Affine, pulse: Pulse) -> QuickPlace:
        transform = self._registration.align_coarsely(search.fixed, search.moving, start)
        pulse()
        there = agreement(search.lattice, search.moving, transform)
        pulse()
        if there.worst_mm > self._limits.aligned_mm:
            transform = self._registration.align_finely(fixed, volume, transform)
            pulse()
            there = agreement(search.lattice, volume, transform)
            pulse()
        self._check(search, transform, there)
        turn, shift = rotation_and_shift(transform, search.lattice.centre)
        return QuickPlace(
            from_reference=transform, placing=f"registered, turned {turn:.1f} degrees and shifted {shift:.1f} mm"
        )

    def _check(self, search: _Search, transform: Affine, there: Agreement) -> None:
        turn, shift = rotation_and_shift(np.linalg.inv(search.centre) @ transform, search.lattice.centre)
        if turn > LARGEST_TURN_DEG or shift > LARGEST_SHIFT_MM or there.nmi < SMALLEST_NMI:
            raise Refused(
                "REGISTRATION_FAILED", "the series does not show the study's head in a plausible position", _RESEND
            )
        if there.worst_mm > self._limits.lost_mm:
            raise Refused(
                "REGISTRATION_FAILED", "the position of the series on the study's reference is ambiguous", _RESEND
            )


def known_places(facts: PrepareFacts, found: Found) -> tuple[Affine, ...]:
    """Where the headers place the series, RAS mm of the reference to RAS mm of the series: as an earlier series of the
    same frame of reference, or, where neither names a frame, as any earlier one. None where the headers say nothing.
    """
    places: list[Affine] = []
    for series in facts.series:
        if series.to_reference is None or series.frame_of_reference != found.space:
            continue
        place: Affine = np.linalg.inv(np.array(series.to_reference, np.float64))
        if not any(np.allclose(place, other, atol=1e-3) for other in places):
            places.append(place)
    return tuple(places)


def check_extent(grid: Grid) -> None:
    """Raises Refused (GEOMETRY_MISMATCH) for a field of view that can be no head."""
    edges = np.array(grid.shape) * np.array(grid.spacing)
    if edges.min() < SMALLEST_EDGE_MM or edges.max() > LARGEST_EDGE_MM:
        size = " x ".join(f"{edge:.0f}" for edge in edges)
        raise Refused("GEOMETRY_MISMATCH", f"a field of view of {size} mm is not that of a head", _RESEND)


def shrunk_volume(volume: Volume, to_mm: float) -> Volume:
    """Means of whole blocks of voxels, so that no edge of a voxel exceeds `to_mm` that did not before; float32."""
    factors = [max(1, int(to_mm / spacing + 0.05)) for spacing in volume.grid.spacing]
    data: NDArray[np.float32] = volume.data
    for axis, factor in enumerate(factors):
        data = _block_means(data, axis, factor)
    affine = volume.affine.copy()
    affine[:3, :3] *= np.array(factors)
    affine[:3, 3] += volume.affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    return Volume(data=data, affine=affine, modality=volume.modality, units=volume.units)


def _block_means(data: Array, axis: int, factor: int) -> NDArray[np.float32]:
    """Means of `factor` neighbours along an axis; what does not fill a block at the end is left out."""
    count = data.shape[axis] // factor
    parts = [
        data[(slice(None),) * axis + (slice(offset, offset + count * factor, factor),)] for offset in range(factor)
    ]
    total: NDArray[np.float32] = parts[0].astype(np.float32)
    for part in parts[1:]:
        total += part
    return total * np.float32(1 / factor)


def _best_start(search: _Search, known: Sequence[Affine]) -> tuple[Affine, bool]:
    """The start with most agreement, and whether the headers name it."""
    identity: Affine = np.eye(4)
    starts = [*((place, True) for place in known), (search.centre, False), (identity, False)]
    return max(starts, key=lambda start: nmi(search.lattice, search.moving, start[0]))


def _check_overlap(lattice: Lattice, found: Found, known: Sequence[Affine]) -> None:
    if known and max(seen(lattice, found.grid, place) for place in known) == 0.0:
        raise Refused("GEOMETRY_MISMATCH", "by its header the series lies beside the head of the study", _RESEND)
