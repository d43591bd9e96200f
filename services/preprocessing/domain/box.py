"""The canonical box of a study: brain mask, every series resampled once, bias removed, standardised, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.core.contracts.facts import Matrix, SeriesFacts
from services.core.contracts.manifest import Reason
from services.core.imaging.canonical import canonical_grid
from services.core.imaging.quality import Quality, measure
from services.core.imaging.resample import index_map, resample, snapped
from services.core.imaging.standardise import standardise
from services.core.imaging.volume import Affine, Array, Grid, Volume
from services.preprocessing.domain.brain import BrainMask, brain_mask
from services.preprocessing.domain.judgement import Brain
from services.preprocessing.domain.placing import Placing
from services.preprocessing.domain.series import Placed, Pulse

FULL_COVER = 0.97
"""A series that shows less of the brain than this is stated to be partial."""
SNAP_MM = 1.5
"""Reference voxels up to this size are worth meeting exactly; a coarser grid would shift the box too far."""


class BiasCorrection(Protocol):
    """Removes the slow intensity change that a receive coil leaves."""

    def correct(self, volume: Volume, brain: Volume) -> Volume | None:
        """The corrected volume, or None when no plausible field was found."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Standardised volumes and the brain mask on one canonical grid, and what was measured on the way."""

    volumes: Mapping[Modality, Volume]
    mask: Volume
    brain: Brain
    problems: tuple[Reason, ...]
    placed: Mapping[str, Placed]
    quality: Mapping[str, Quality]
    dropped: Mapping[str, str]

    def described(self, series: Sequence[SeriesFacts]) -> tuple[SeriesFacts, ...]:
        """The facts of all series, completed by what was found out since they were read."""
        return tuple(self._described(facts) for facts in series)

    def _described(self, facts: SeriesFacts) -> SeriesFacts:
        if facts.series in self.dropped:
            return replace(facts, used=False, reason=self.dropped[facts.series])
        placed = self.placed.get(facts.series)
        if placed is None:
            return facts
        return completed(facts, placed, self.quality.get(facts.series))


def completed(facts: SeriesFacts, placed: Placed, quality: Quality | None) -> SeriesFacts:
    """The facts of a placed series, with its place and, where it could be measured, its quality."""
    return replace(
        facts,
        reason=f"{facts.reason}; {placed.placing}",
        to_reference=matrix(placed.to_reference),
        log_snr=round(quality.log_snr, 4) if quality else None,
        motion=round(quality.motion, 4) if quality else None,
    )


def prepare_in_box(placing: Placing, bias: BiasCorrection | None, pulse: Pulse) -> Prepared:
    """Mask, box, and every placed series in it. A series without contrast inside the brain is dropped.

    Raises Refused (EMPTY_BRAIN, FLAT_IMAGE) when that leaves none.
    """
    found = brain_mask(placing.reference, placing.others, pulse)
    pulse()
    grid = box_around(found.mask, placing.reference.volume.grid)
    mask = _mask_in(found.mask, grid)
    volumes: dict[Modality, Volume] = {}
    quality: dict[str, Quality] = {}
    problems, dropped = list(placing.problems), dict(placing.dropped)
    last: Refused | None = None
    for placed in (placing.reference, *placing.others):
        pulse()
        measured = measure(placed.volume, mask, placed.to_reference, placed.found.slice_thickness_mm)
        if measured is not None:
            quality[placed.found.series] = measured
        pulse()
        seen = covered(placed, mask)
        share = float(seen.data.sum() / mask.data.sum())
        if share < FULL_COVER:
            problems.append(partial_coverage(placed.modality, share))
        try:
            volumes[placed.modality] = _standard(placed, grid, seen, bias, pulse)
        except Refused as error:
            last = error
            dropped[placed.found.series] = f"not used: {error.message}"
            problems.append(Reason(code=error.code, message=f"{placed.modality}: {error.message}"))
    if last is not None and not volumes:
        raise last
    return Prepared(
        volumes=volumes,
        mask=mask,
        brain=_brain(found, mask),
        problems=tuple(problems),
        placed={placed.found.series: placed for placed in (placing.reference, *placing.others)},
        quality=quality,
        dropped=dropped,
    )


def covered(placed: Placed, mask: Volume) -> Volume:
    """The part of the brain mask that lies in the series' own field of view, to one voxel.

    Beyond it resampling gives zeros, which are no picture: they must not enter the statistics of the brain.
    """
    into = index_map(placed.volume, mask.grid, placed.from_reference)
    shape = placed.volume.data.shape
    spans = [np.flatnonzero(mask.data.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    low, high = [int(span[0]) for span in spans], [int(span[-1]) for span in spans]
    corners = [np.array([first, last]) for first, last in zip(low, high, strict=True)]
    if _within(corners, into, shape).all():  # the field of view is convex
        return mask
    part = tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))
    data = np.zeros_like(mask.data)
    data[part] = mask.data[part] * _within([np.arange(p.start, p.stop) for p in part], into, shape)
    return mask.with_data(data)


def box_around(mask: Volume, reference: Grid) -> Grid:
    """The canonical 1 mm grid around the middle of the mask's extent, on the reference's voxels where they are fine."""
    inside = np.argwhere(mask.data > 0)
    if len(inside) == 0:
        raise Refused("EMPTY_BRAIN", "no brain was found in the images", "Send series that show the whole head.")
    corners = np.array(np.meshgrid(*zip(inside.min(axis=0), inside.max(axis=0), strict=True), indexing="ij"))
    points = mask.affine[:3, :3] @ corners.reshape(3, -1) + mask.affine[:3, 3:]
    grid = canonical_grid((points.min(axis=1) + points.max(axis=1)) / 2)
    return snapped(grid, reference) if max(reference.spacing) <= SNAP_MM else grid


def partial_coverage(modality: Modality, share: float) -> Reason:
    """`share` of the brain (0 to 1) lies in the series' field of view."""
    return Reason(
        code=f"{modality.name}_PARTIAL_COVERAGE",
        message=f"{modality}: the series shows {100 * share:.0f} % of the brain; elsewhere the others stand alone",
    )


def matrix(affine: Affine) -> Matrix:
    """An affine as the facts hold it, rounded to a nanometre: equal runs on other machines then agree."""
    return tuple(tuple(round(float(value), 6) + 0.0 for value in row) for row in affine)


def _within(axes: Sequence[Array], into: Affine, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """For all index combinations of three axes: whether `into` takes them inside a grid of this shape."""
    x, y, z = axes
    inside: NDArray[np.bool_] = np.ones((len(x), len(y), len(z)), np.bool_)
    for (a, b, c, offset), edge in zip(into[:3], shape, strict=True):
        place = ((a * x + offset)[:, None] + b * y)[:, :, None] + c * z
        inside &= (place >= -1.0) & (place <= edge)
    return inside


def _mask_in(mask: Volume, grid: Grid) -> Volume:
    share = resample(replace(mask, data=mask.data.astype(np.float32)), grid)
    return replace(share, data=(share.data >= 0.5).astype(np.uint8))


def _standard(placed: Placed, grid: Grid, mask: Volume, bias: BiasCorrection | None, pulse: Pulse) -> Volume:
    volume = resample(placed.volume, grid, placed.from_reference)
    pulse()
    provenance = {"bias": "not corrected", "placing": placed.placing}
    if bias is not None:
        corrected = bias.correct(volume, mask)
        pulse()
        if corrected is not None:
            volume, provenance["bias"] = corrected, "N4"
    standard = standardise(volume, mask)
    return replace(standard, data=standard.data.astype(np.float16), provenance={**standard.provenance, **provenance})


def _brain(found: BrainMask, mask: Volume) -> Brain:
    millilitres = float((found.mask.data > 0).sum() * found.mask.grid.voxel_ml)
    boxed = float(mask.data.sum() * mask.grid.voxel_ml)
    return Brain(
        volume_ml=millilitres,
        stripped=found.stripped,
        cut_off=found.cut_off,
        outside_box_ml=max(0.0, millilitres - boxed) if millilitres - boxed > 0.005 * millilitres else 0.0,
    )
