"""Numbers of reports: percentiles, and what Prometheus pages say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

Row: TypeAlias = dict[str, Any]
Labels: TypeAlias = tuple[tuple[str, str], ...]
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed (nearest rank). Raises ValueError if empty."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values: Sequence[float], digits: int = 3) -> Row:
    """Count, p50, p95, p99 and the largest; only the count where there is no value."""
    if not values:
        return {"count": 0}
    shares = {name: round(percentile(values, share), digits) for name, share in SHARES.items()}
    return {"count": len(values), **shares, "max": round(max(values), digits)}


def samples(page: str, name: str) -> dict[Labels, float]:
    """Samples of this name on a metrics page, by their labels in order of name."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


def total(found: Mapping[Labels, float], **wanted: str) -> float:
    """Sum over the samples that carry these labels."""
    return sum(value for labels, value in found.items() if wanted.items() <= dict(labels).items())


def histograms(pages: Iterable[str], name: str, by: Sequence[str]) -> Row:
    """Histograms of all pages together, by the values of some labels: count, mean, buckets (upper bound -> count)."""
    found: dict[str, Row] = {}
    for page in pages:
        for suffix in ("_count", "_sum", "_bucket"):
            for labels, value in samples(page, name + suffix).items():
                named = dict(labels)
                row = found.setdefault(
                    " ".join(named[label] for label in by), {"count": 0.0, "sum": 0.0, "buckets": {}}
                )
                if suffix == "_bucket":
                    row["buckets"][named["le"]] = row["buckets"].get(named["le"], 0.0) + value
                else:
                    row[suffix[1:]] += value
    return {key: _told(row) for key, row in found.items() if row["count"]}


def _told(row: Row) -> Row:
    told = {"count": int(row["count"]), "mean": round(row["sum"] / row["count"], 4)}
    bounds = {f"{name}_below": _below(row["buckets"], share) for name, share in SHARES.items()}
    return {**told, **bounds, "buckets": row["buckets"]}


def _below(buckets: Mapping[str, float], share: float) -> float | None:
    """The bound of the first bucket that holds this share; None above the last."""
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    wanted = share * bounds[-1][1]
    bound = next(bound for bound, count in bounds if count >= wanted)
    return bound if math.isfinite(bound) else None
