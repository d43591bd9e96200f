"""The scenarios: what arrives when. Each gives the document of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.arrivals import arrivals, morning, poisson
from loadtests.figures import Row
from loadtests.flood import flood_with_theatre
from loadtests.run import run
from loadtests.studies import Studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`minutes`: the bound of the whole run. `studies`: how many are sent, where the scenario counts them.
    `per_hour`: their mean rate, where it has one. `pose_s`: how long poses are asked in the flood; 0: none.
    """

    spacing_mm: float = 1.0
    minutes: float = 10.0
    studies: int | None = None
    per_hour: float | None = None
    pose_s: float = 300.0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario in words and how it is run."""

    title: str
    words: str
    play: Callable[[Options], Row]


def steady(options: Options) -> Row:
    """An even stream: Poisson arrivals over half of the time."""
    rate = (options.per_hour or 120.0) / 3600
    moments = poisson(lambda _: rate, rate, 30 * options.minutes, options.seed)[: options.studies]
    plan = arrivals(moments, Studies(spacing_mm=options.spacing_mm), options.seed)
    return {**run("steady", plan, options.minutes), "asked": {"studies_per_hour": 3600 * rate}}


def morning_burst(options: Options) -> Row:
    """A bell of arrivals on a low base over half of the time: the first scans of the day reach the archive together."""
    seconds = 30 * options.minutes
    peak = (options.per_hour or 1200.0) / 3600
    rate = morning(peak / 20, peak, at_s=seconds / 3, width_s=seconds / 12)
    moments = poisson(rate, peak, seconds, options.seed)[: options.studies]
    plan = arrivals(moments, Studies(spacing_mm=options.spacing_mm), options.seed)
    return {**run("morning-burst", plan, options.minutes), "asked": {"peak_studies_per_hour": 3600 * peak}}


def slow_clients(options: Options) -> Row:
    """An even stream, half of which comes over lines that need a minute for a study."""
    rate = (options.per_hour or 90.0) / 3600
    moments = poisson(lambda _: rate, rate, 24 * options.minutes, options.seed)[: options.studies]
    even = arrivals(moments, Studies(spacing_mm=options.spacing_mm), options.seed)
    plan = [
        replace(arrival, bytes_per_s=_size(arrival.file) / 60) if number % 2 else arrival
        for number, arrival in enumerate(even)
    ]
    document = run("slow-clients", plan, options.minutes)
    return {**document, "asked": {"studies_per_hour": 3600 * rate, "slow_share": 0.5, "slow_upload_s": 60}}


def flood(options: Options) -> Row:
    """Fifty routine studies at once, and an operation beside them."""
    return flood_with_theatre(
        Studies(spacing_mm=options.spacing_mm), options.minutes, options.studies or 50, options.seed, options.pose_s
    )


SCENARIOS: Mapping[str, Scenario] = {
    "steady": Scenario(
        title="An even stream of studies",
        words="Arrivals are drawn beforehand (Poisson); one study in five is DICOM, one in ten is urgent.",
        play=steady,
    ),
    "morning-burst": Scenario(
        title="The morning burst",
        words="Arrivals are drawn beforehand from a rate with one peak, twenty times the base.",
        play=morning_burst,
    ),
    "flood-with-theatre": Scenario(
        title="A flood of routine studies, and an operation",
        words="An operation on the idle machine first; then routine studies all at once, and another operation beside "
        "them: t1c before the resection, t2f and t1c after it, both flagged as changed.",
        play=flood,
    ),
    "slow-clients": Scenario(
        title="Slow clients",
        words="Every second upload comes over a line that needs a minute for it; the others must not wait for them.",
        play=slow_clients,
    ),
}


def _size(file: str) -> int:
    return Path(file).stat().st_size
