"""The bars that were set for a release, computed from a report: reached, or missed by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.evaluation.thinning import FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar. `at_least` says which side of it is good; `value` None was not measured."""

    name: str
    value: float | None
    bar: float
    at_least: bool = True

    @property
    def reached(self) -> bool | None:
        """None when there is nothing to judge."""
        if self.value is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def missing(self) -> float:
        """By how much it is missed; 0 when it is reached or was not measured."""
        if self.value is None or self.reached:
            return 0.0
        return abs(self.value - self.bar)


def bars(report: Mapping[str, Any]) -> list[Bar]:
    """All of them, in the order in which they are read."""
    return [*_masks(report), *_healthy(report), *_markers(report)]


def _at(report: Mapping[str, Any], *path: str) -> float | None:
    """The number at the end of the path; None where the report does not go that far."""
    value: Any = report
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return None if value is None else float(value)


def _masks(report: Mapping[str, Any]) -> Iterator[Bar]:
    for region, bar in (("WT", 0.90), ("TC", 0.85), ("ET", 0.80)):
        yield Bar(name=f"{region} Dice on unseen phantoms", value=_at(report, "phantoms", "dice", region), bar=bar)
    for region, bar in (("WT", 0.6), ("TC", 0.4)):
        value = _at(report, "phantoms", "baseline", region)
        yield Bar(name=f"{region} Dice of the threshold baseline", value=value, bar=bar, at_least=False)
    for name, path, limit in (
        ("mean WT lost without two sequences, FLAIR or T2 kept", ("two_missing", "mean_keeping_flair_or_t2"), 0.05),
        ("calibration error (ECE) near the tumour", ("ece",), 0.03),
        ("tumour phantoms flagged", ("flagged",), 0.05),
    ):
        yield Bar(name=name, value=_at(report, "phantoms", *path), bar=limit, at_least=False)
    caught = _at(report, "phantoms", "wrong_among_uncertain")
    yield Bar(name="wrong voxels inside the most uncertain tenth", value=caught, bar=0.5)


def _healthy(report: Mapping[str, Any]) -> Iterator[Bar]:
    yield Bar(name="healthy phantoms under 1 ml", value=_at(report, "healthy", "share_under_1_ml"), bar=0.95)
    template = report.get("template")
    passed = None if template is None else float(template["ml"] < 1.0 or bool(template["flags"]))
    yield Bar(name="real template, T1 only: under 1 ml or flagged", value=passed, bar=1.0)


def _markers(report: Mapping[str, Any]) -> Iterator[Bar]:
    for name in report.get("markers", {FULL: None}):
        for text, path, bar, at_least in (
            ("IDH AUC", ("idh", "auc"), 0.80, True),
            ("1p/19q AUC", ("codel_1p19q", "auc"), 0.70, True),
            ("IDH calibration error", ("idh", "ece"), 0.05, False),
            ("1p/19q calibration error", ("codel_1p19q", "ece"), 0.05, False),
            ("IDH answered", ("idh", "answered"), 0.60, True),
            ("IDH right when answered", ("idh", "accuracy_of_answered"), 0.85, True),
            ("MGMT abstained", ("mgmt", "abstained"), 0.90, True),
        ):
            yield Bar(name=f"{text} ({name})", value=_at(report, "markers", name, *path), bar=bar, at_least=at_least)
