"""Service times from the document of a load test, drawn from its histograms. Nothing here is made up."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.figures import Row

STAGES = ("prepare", "segment", "subtype", "compare", "report")
FOLDER = Path(__file__).parents[2] / "docs" / "load"


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram that can be drawn from: a bucket by its count, then evenly inside it; scaled to the exact mean."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    mean: float

    @staticmethod
    def of(found: Sequence[Row]) -> Times:
        """Of several histograms with the same bounds together (both lanes of a stage). Raises ValueError if empty."""
        cumulated: dict[float, float] = {}
        for row in found:
            for bound, count in row["buckets"].items():
                cumulated[float(bound)] = cumulated.get(float(bound), 0.0) + count
        total = sum(row["count"] for row in found)
        if not total:
            raise ValueError("nothing was measured")
        bounds = tuple(sorted(cumulated))
        below = [0.0, *(cumulated[bound] for bound in bounds)]
        counts = tuple(below[n + 1] - below[n] for n in range(len(bounds)))
        return Times(bounds, counts, sum(row["count"] * row["mean"] for row in found) / total)

    def draw(self, rng: random.Random) -> float:
        """One service time, s."""
        return self._raw(rng) * self.mean / self._raw_mean

    def _raw(self, rng: random.Random) -> float:
        place = rng.choices(range(len(self.bounds)), self.counts)[0]
        return rng.uniform(*self._edges(place))

    @property
    def _raw_mean(self) -> float:
        weighted = sum(count * sum(self._edges(place)) / 2 for place, count in enumerate(self.counts))
        return weighted / sum(self.counts)

    def _edges(self, place: int) -> tuple[float, float]:
        low = self.bounds[place - 1] if place else 0.0
        return low, self.bounds[place] if math.isfinite(self.bounds[place]) else 2 * low


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds: each stage's handler, the part of a segmentation that Triton computes, a theatre series' last byte to
    its masks. `demand`: cores that the home used for each second inside a handler. `source` names the documents.
    """

    stages: Mapping[str, Times]
    triton_s: float
    coarse_s: tuple[float, ...]
    final_s: tuple[float, ...]
    demand: float
    source: str


def read(steady: Path, theatre: Path | None) -> Measured:
    """Raises ValueError where a document lacks what is needed, OSError where it is not there."""
    document: Row = json.loads(steady.read_text())
    stages = {}
    for stage in STAGES:
        rows = [row for name, row in document["handlers_s"].items() if name.split()[0] == stage]
        stages[stage] = Times.of(rows)
    segments = sum(row["count"] for name, row in document["handlers_s"].items() if name.split()[0] == "segment")
    triton = sum(row["count"] * row["mean"] for row in document["triton_s"].values()) / max(segments, 1)
    inside = sum(row["count"] * row["mean"] for row in document["handlers_s"].values())
    series: list[Row] = []
    if theatre is not None:
        operations = json.loads(theatre.read_text())["operations"]
        series = [row for row in operations["idle"] if row["event"] == "series" and row["final_s"] is not None]
    return Measured(
        stages=stages,
        triton_s=min(triton, stages["segment"].mean),
        coarse_s=tuple(row["coarse_s"] for row in series),
        final_s=tuple(row["final_s"] for row in series),
        demand=document["cpu"]["cores_of_the_home"] * document["load"]["seconds"] / inside,
        source=steady.name if theatre is None else f"{steady.name}, {theatre.name}",
    )


def with_means(measured: Measured, means: Mapping[str, float], source: str) -> Measured:
    """Other means for some stages (`triton` for Triton's part of a segmentation), the shapes of the histograms kept."""
    stages = {name: replace(times, mean=means.get(name, times.mean)) for name, times in measured.stages.items()}
    triton = min(means.get("triton", measured.triton_s), stages["segment"].mean)
    return replace(measured, stages=stages, triton_s=triton, source=f"{source}; shapes: {measured.source}")
