"""From what was found in a study to the voxels of one series a slot, with a reason for everything left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.core.contracts.facts import SeriesFacts
from services.core.contracts.manifest import Reason
from services.core.imaging.volume import Volume
from services.preprocessing.domain.choice import Candidate, choose, reference_of
from services.preprocessing.domain.series import Found, Pulse, Unreadable

FEWEST_SLICES = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """Voxels a slot, the series they come from, what is stated of every series, and what went wrong."""

    volumes: Mapping[Modality, Volume]
    sources: Mapping[Modality, Found]
    series: tuple[SeriesFacts, ...]
    problems: tuple[Reason, ...]

    @property
    def reference(self) -> Found:
        """The series that the others are registered to. Raises ValueError when there is none."""
        return self.sources[reference_of(self.volumes)]


def read_chosen(found: Sequence[Found | Unreadable], unusable_mm: float, pulse: Pulse) -> Reading:
    """Chooses a series a slot and reads it; a series that cannot be read is left out with its reason."""
    unused: dict[str, tuple[str, Reason | None]] = {}
    candidates: dict[str, Found] = {}
    for item in found:
        if isinstance(item, Unreadable):
            unused[item.series] = (f"not used: {item.reason.message}", _serious(item))
        elif item.modality is None:
            unused[item.series] = (item.reason, None)
        elif (poor := too_poor(item, unusable_mm)) is not None:
            unused[item.series] = (f"not used: {poor.message}", poor)
        else:
            candidates[item.series] = item
    choice = choose([_candidate(item) for item in candidates.values()])
    unused |= {series: (why, None) for series, why in choice.left.items()}
    volumes: dict[Modality, Volume] = {}
    for modality, chosen in choice.chosen.items():
        pulse()
        try:
            volumes[modality] = read_one(candidates[chosen.series], pulse)
        except Refused as error:
            message = f"{modality}: {error.message}"
            unused[chosen.series] = (f"not used: {error.message}", Reason(code=error.code, message=message))
    remarks = [
        Reason(code="SPACING_CONTRADICTS_POSITIONS", message=f"{modality}: {remark}; the positions are believed")
        for modality in volumes
        for remark in candidates[choice.chosen[modality].series].remarks
    ]
    return Reading(
        volumes=volumes,
        sources={modality: candidates[choice.chosen[modality].series] for modality in volumes},
        series=tuple(_facts(item, unused) for item in found),
        problems=(*(reason for _, reason in unused.values() if reason is not None), *remarks),
    )


def read_one(item: Found, pulse: Pulse) -> Volume:
    """The voxels of a series. Raises Refused, also for an image without any contrast (EMPTY_IMAGE)."""
    volume = item.load(pulse)
    if float(np.ptp(volume.data)) == 0.0:
        raise Refused("EMPTY_IMAGE", "every voxel has the same value: there is no image")
    return volume


def _serious(item: Unreadable) -> Reason | None:
    """A series of no interest that cannot be read is no problem of the study."""
    if item.reason.code == "NOT_USED":
        return None
    name = item.modality or "a series"
    return Reason(code=item.reason.code, message=f"{name}: {item.reason.message}")


def too_poor(item: Found, unusable_mm: float) -> Reason | None:
    """Why a series is not worth reading: slices too far apart (mm), or too few; None when it is."""
    if item.extent.across_mm > unusable_mm:
        return Reason(
            code="SLICES_TOO_THICK",
            message=f"{item.modality}: slices every {item.extent.across_mm:.1f} mm are too far apart",
        )
    if item.extent.slices < FEWEST_SLICES:
        return Reason(
            code="TOO_FEW_SLICES", message=f"{item.modality}: {item.extent.slices} slices do not cover a head"
        )
    return None


def _candidate(item: Found) -> Candidate:
    if item.modality is None:
        raise ValueError("a series without a slot is no candidate")
    return Candidate(
        series=item.series,
        modality=item.modality,
        extent=item.extent,
        three_d=item.three_d,
        original=item.original,
        order=item.order,
    )


def facts_of_found(item: Found) -> SeriesFacts:
    """What is stated of a used series before it is placed."""
    return _facts(item, {})


def _facts(item: Found | Unreadable, unused: Mapping[str, tuple[str, Reason | None]]) -> SeriesFacts:
    why = unused.get(item.series)
    grid = item.grid if isinstance(item, Found) else None
    return SeriesFacts(
        series=item.series,
        modality=item.modality,
        used=why is None,
        reason=why[0] if why else item.reason if isinstance(item, Found) else item.reason.message,
        shape=grid.shape if grid else (),
        spacing_mm=tuple(round(edge, 4) for edge in grid.spacing) if grid else (),
        slice_thickness_mm=item.slice_thickness_mm if isinstance(item, Found) else None,
        frame_of_reference=item.space if isinstance(item, Found) else "",
    )
