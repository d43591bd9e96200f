"""What hospitals ask for in a day, drawn beforehand. The figures of a hospital are assumptions, stated on the page."""

from __future__ import annotations

import random
from dataclasses import dataclass

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """A busy neuro-oncology centre. Studies a day, the share of urgent ones, operations a day, how long one lasts and
    the series that it sends.
    """

    studies: float = 20.0
    urgent: float = 0.1
    operations: float = 1.0
    operation_h: float = 3.0
    series: int = 6


PROFILE = (
    *([0.01] * 6), 0.03, 0.10, 0.16, 0.13, 0.10, 0.08, 0.06, 0.07, 0.06, 0.05, 0.03, 0.02, 0.01, *([0.006] * 5),
)  # fmt: skip
"""Share of a day's studies in each hour: the first scans of the morning reach the archive between 8 and 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study, `at_s` after midnight."""

    at_s: float
    urgent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One operation: when its session opens and ends, and when its series come (s after midnight)."""

    at_s: float
    ends_s: float
    series_s: tuple[float, ...]


def studies(hospitals: int, hospital: Hospital, seed: int) -> list[Study]:
    """A day of all hospitals, in order: a Poisson process in each hour."""
    rng = random.Random(f"studies {seed}")
    total = sum(PROFILE)
    found = []
    for hour, share in enumerate(PROFILE):
        rate = hospitals * hospital.studies * share / total / HOUR_S
        now = hour * HOUR_S
        while (now := now + rng.expovariate(rate)) < (hour + 1) * HOUR_S:
            found.append(Study(at_s=now, urgent=rng.random() < hospital.urgent))
    return found


def sessions(hospitals: int, hospital: Hospital, seed: int) -> list[Session]:
    """A day's operations, in order of their start: most begin at eight, the others until three in the afternoon."""
    rng = random.Random(f"sessions {seed}")
    count = sum(rng.random() < hospital.operations % 1 for _ in range(hospitals)) + hospitals * int(hospital.operations)
    found = []
    for _ in range(count):
        start = rng.gauss(8.0, 0.33) if rng.random() < 0.6 else rng.uniform(8.5, 15.0)
        length = hospital.operation_h * rng.uniform(0.6, 1.4) * HOUR_S
        at_s = max(0.0, start * HOUR_S)
        moments = sorted(at_s + rng.uniform(0.05, 0.95) * length for _ in range(hospital.series))
        found.append(Session(at_s=at_s, ends_s=at_s + length, series_s=tuple(moments)))
    return sorted(found, key=lambda session: session.at_s)
