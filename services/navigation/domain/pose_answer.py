"""Where a tool's tip is: tissue, distances, probability and uncertainty there, and whether all that is still true.

What cannot be said is absent, never zero. Frame: patient RAS mm of the series behind the mask. Pure; a pose costs some
tens of microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from services.core.imaging.labels import Label
from services.core.imaging.volume import Affine, Array

OUTSIDE = 255
"""Stands in the tissue map where the brain ends."""
FULL = 255
RIGID = 5e-3
"""How far a rotation may be from orthonormal: what float32 and three printed decimals lose, but no scaled tool."""
FARTHEST_MM = 10_000.0
Point: TypeAlias = "tuple[float, float, float]"


class StaleCause(StrEnum):
    """Why an answer may not be true any more; the names of the proto's enum."""

    MASK = "MASK"
    REGISTRATION = "REGISTRATION"
    CLOCK = "CLOCK"
    ANATOMY = "ANATOMY"


class PoseReason(StrEnum):
    """Why a pose has no answer; names of the proto's enum `Reason`."""

    POSE_INVALID = "POSE_INVALID"
    NO_MASK_YET = "NO_MASK_YET"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """Voxels (x, y, z) over a part of the mask's box: the first begins at `corner` (in voxels of the mask, from the
    box's outer corner), each is `factor` of these long.
    """

    values: Array
    corner: Point = (0.0, 0.0, 0.0)
    factor: float = 1.0

    def at(self, place: Point, *, brim: bool = True) -> float | None:
        """Trilinear, at a voxel index of the mask; None outside. `brim`: the outer half of the edge voxels counts."""
        begins, parts = [], []
        for axis in range(3):
            last = self.values.shape[axis] - 1
            index = (place[axis] + 0.5 - self.corner[axis]) / self.factor - 0.5
            reach = 0.5 if brim else 0.0
            if not -reach <= index <= last + reach:
                return None
            index = min(max(index, 0.0), float(last))
            begin = max(min(int(index), last - 1), 0)
            begins.append(begin)
            parts.append(index - begin)
        i, j, k = begins
        cube = self.values[i : i + 2, j : j + 2, k : k + 2].astype(np.float64)
        for part in parts:
            cube = cube[0] if cube.shape[0] == 1 else cube[0] * (1.0 - part) + cube[1] * part
        return float(cube)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownMask:
    """A mask as it is looked up. `to_index`: patient RAS mm to voxel index. `distances`: fields of wt, et, rc, finest
    first, none for a region that does not exist. Moments: seconds of the monotonic clock; `outdated_since`: when the
    anatomy was last said to have changed.
    """

    to_index: Affine
    tissue: Array
    vacuity: Field
    tumour: Field | None
    distances: Mapping[str, Sequence[Field]]
    series_digest: str
    arrived_at: float
    registered_at: float
    outdated_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRules:
    """Seconds from which on a mask, a registration or a difference of clocks makes an answer stale."""

    mask_s: float
    registration_s: float
    clock_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a pose is answered: monotonic seconds, and how far the tool's clock says that the pose lies in the past
    (seconds of wall time; None: it does not say).
    """

    monotonic: float
    pose_age_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseAnswer:
    """Values at the tip; absent ones are None. `reason` stands instead of them."""

    tissue: str = ""
    tumour_mm: float | None = None
    enhancing_mm: float | None = None
    cavity_mm: float | None = None
    infiltration: float | None = None
    uncertainty: float | None = None
    mask_age_s: float | None = None
    stale: tuple[StaleCause, ...] = ()
    reason: PoseReason | None = None
    series_digest: str = ""


def answer(pose: Sequence[float], shown: ShownMask | None, moment: Moment, rules: StaleRules) -> PoseAnswer:
    """What can be said of a tool's pose: 16 numbers, row by row, tool to patient RAS mm; its origin is the tip."""
    tip = tip_of(pose)
    if tip is None:
        return PoseAnswer(reason=PoseReason.POSE_INVALID)
    if shown is None:
        return PoseAnswer(reason=PoseReason.NO_MASK_YET)
    place = _place(shown, tip)
    tissue = _tissue(shown.tissue, place)
    outside = tissue == "OUTSIDE"
    vacuity = None if outside else shown.vacuity.at(place)
    tumour = None if outside or shown.tumour is None else shown.tumour.at(place)
    return PoseAnswer(
        tissue=tissue,
        tumour_mm=_distance(shown.distances.get("wt", ()), place),
        enhancing_mm=_distance(shown.distances.get("et", ()), place),
        cavity_mm=_distance(shown.distances.get("rc", ()), place),
        infiltration=None if tumour is None else tumour / FULL,
        uncertainty=None if vacuity is None else vacuity / FULL,
        mask_age_s=max(moment.monotonic - shown.arrived_at, 0.0),
        stale=_stale(shown, moment, rules),
        series_digest=shown.series_digest,
    )


def tip_of(pose: Sequence[float]) -> Point | None:
    """The origin of a rigid transform; None for what is none: not 16 numbers, NaN, infinite, sheared, mirrored."""
    if len(pose) != 16 or not all(map(math.isfinite, pose)):
        return None
    x, y, z = (pose[0], pose[4], pose[8]), (pose[1], pose[5], pose[9]), (pose[2], pose[6], pose[10])
    pairs = ((x, x, 1.0), (y, y, 1.0), (z, z, 1.0), (x, y, 0.0), (x, z, 0.0), (y, z, 0.0))
    if any(abs(_dot(a, b) - wanted) > RIGID for a, b, wanted in pairs) or _dot(_cross(x, y), z) < 0:
        return None
    if any(abs(pose[12 + n] - wanted) > RIGID for n, wanted in enumerate((0.0, 0.0, 0.0, 1.0))):
        return None
    tip = (pose[3], pose[7], pose[11])
    return tip if max(map(abs, tip)) <= FARTHEST_MM else None


def _place(shown: ShownMask, tip: Point) -> Point:
    x, y, z, _ = (shown.to_index @ (*tip, 1.0)).tolist()
    return x, y, z


def _tissue(tissue: Array, place: Point) -> str:
    i, j, k = (math.floor(part + 0.5) for part in place)
    x, y, z = tissue.shape
    if not (0 <= i < x and 0 <= j < y and 0 <= k < z):
        return "OUTSIDE"
    value = int(tissue[i, j, k])
    return "OUTSIDE" if value == OUTSIDE else Label(value).name


def _distance(fields: Sequence[Field], place: Point) -> float | None:
    for number, field in enumerate(fields, start=1):
        value = field.at(place, brim=number == len(fields))
        if value is not None:
            return value
    return None


def _stale(shown: ShownMask, moment: Moment, rules: StaleRules) -> tuple[StaleCause, ...]:
    causes = {
        StaleCause.MASK: moment.monotonic - shown.arrived_at > rules.mask_s,
        StaleCause.REGISTRATION: moment.monotonic - shown.registered_at > rules.registration_s,
        StaleCause.CLOCK: moment.pose_age_s is None or abs(moment.pose_age_s) > rules.clock_s,
        StaleCause.ANATOMY: shown.outdated_since is not None and shown.outdated_since > shown.arrived_at,
    }
    return tuple(cause for cause, true in causes.items() if true)


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
