"""When studies arrive: drawn beforehand, so that a late answer never delays the next one (an open model).

`at_s` counts from the start of the load.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtests.studies import Studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One upload: a ZIP, sent at `at_s` for `patient` (NIfTI only) on `lane`. `bytes_per_s`: as slowly as that."""

    at_s: float
    file: str
    kind: str
    lane: str = "routine"
    patient: str | None = None
    acquired: str | None = None
    bytes_per_s: float | None = None


def poisson(rate: Callable[[float], float], highest: float, until_s: float, seed: int) -> list[float]:
    """Moments of a Poisson process whose rate (1/s) varies; thinning after Lewis and Shedler (1979).

    Raises ValueError where the rate is above `highest`.
    """
    rng = random.Random(seed)
    moments, now = [], 0.0
    while (now := now + rng.expovariate(highest)) < until_s:
        if (here := rate(now)) > highest * (1 + 1e-9):
            raise ValueError(f"a rate of {here:g} is above the highest of {highest:g}")
        if rng.random() < here / highest:
            moments.append(now)
    return moments


def morning(base: float, peak: float, at_s: float, width_s: float) -> Callable[[float], float]:
    """A rate with a peak: `base` plus a bell of height `peak` - `base`."""
    return lambda now: base + (peak - base) * math.exp(-0.5 * ((now - at_s) / width_s) ** 2)


def arrivals(
    moments: Sequence[float], studies: Studies, seed: int, every_dicom: int = 5, stat: float = 0.1
) -> list[Arrival]:
    """An upload at each moment: every fifth as DICOM, one in ten urgent. Writes what the cache lacks."""
    rng = random.Random(seed)
    made = []
    for number, at_s in enumerate(moments):
        lane = "stat" if rng.random() < stat else "routine"
        if every_dicom and number % every_dicom == every_dicom - 1:
            file = studies.dicom(number // every_dicom)
            made.append(Arrival(at_s=at_s, file=str(file), kind="dicom", lane=lane))
        else:
            person = f"load-{seed}-{number}"
            file = studies.nifti(number)
            made.append(
                Arrival(at_s=at_s, file=str(file), kind="nifti", lane=lane, patient=person, acquired="2031-05-01")
            )
    return made


def write_plan(plan: Sequence[Arrival], path: Path) -> None:
    """As a file for the generator."""
    path.write_text(json.dumps([asdict(arrival) for arrival in plan]))


def read_plan(path: Path) -> list[Arrival]:
    """The inverse of `write_plan`."""
    return [Arrival(**arrival) for arrival in json.loads(path.read_text())]
