"""From lines to figures: means over cases, by what they are broken down by, and the bars that were set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.core.imaging.labels import REGIONS
from services.evaluation.calibration import Bins, added, expected_calibration_error, risk_coverage
from services.evaluation.marker_figures import marker_figures
from services.evaluation.measure import Row
from services.evaluation.metrics import mean_dices
from services.evaluation.origin import Origin
from services.evaluation.runs import NOTICE, lines
from services.evaluation.thinning import FULL, two_dropped

SIZES = ((0.0, 2.0), (2.0, 10.0), (10.0, 50.0), (50.0, 1e9))
SMALL_ML = 1.0
FILES = ("phantoms", "operated", "synthetic", "healthy", "template", "markers")


def summarised(folder: Path, origin: Origin) -> Row:
    """Everything that the lines of this origin in `folder` say. A part without lines is left out."""
    found = {name: [r for r in lines(folder / f"{name}.jsonl") if origin.made(r)] for name in FILES}
    report: Row = {**origin.stated(), "notice": NOTICE}
    if found["phantoms"]:
        report["phantoms"] = tumours(found["phantoms"])
    if found["operated"]:
        cavity = float(np.mean([row["cavity"] for row in found["operated"]]))
        report["operated"] = {**_dices(found["operated"]), "cavity": cavity}
    if found["synthetic"]:
        report["synthetic"] = {**_dices(found["synthetic"]), "protocols": _protocols(found["synthetic"])}
    if found["healthy"]:
        report["healthy"] = healthy(found["healthy"])
    if found["template"]:
        report["template"] = {key: found["template"][-1][key] for key in ("ml", "flags")}
    if found["markers"]:
        report["markers"] = marker_figures(found["markers"])
    return report


def tumours(rows: Sequence[Row]) -> Row:
    """Figures of the tumour phantoms."""
    full = [row["protocols"][FULL] for row in rows]
    bins = added([Bins(**row["bins"]) for row in rows])
    caught = [row["wrong_among_uncertain"] for row in rows if row["wrong_among_uncertain"] is not None]
    return {
        **_dices(rows),
        "coarse": mean_dices(p["coarse"] for p in full),
        "baseline": mean_dices(row["baseline"] for row in rows),
        "flagged": float(np.mean([bool(p["flags"]) for p in full])),
        "surfaces": {r: _mean_of([row["surfaces"][r] for row in rows]) for r in REGIONS},
        "lesions": {r: _mean_of([row["lesions"][r] for row in rows]) for r in REGIONS},
        "instances": {r: _mean_of([row["instances"][r] for row in rows]) for r in REGIONS},
        "sensitivity": mean_dices(row["sensitivity"] for row in rows),
        "specificity": mean_dices(row["specificity"] for row in rows),
        "bias_ml": {r: _median([row["bias_ml"][r] for row in rows]) for r in REGIONS},
        "bias_percent": {r: _bias_percent(rows, r) for r in REGIONS},
        "ece": expected_calibration_error(bins),
        "bins": {"count": bins.count, "confidence": bins.confidence, "right": bins.right},
        "brier": float(np.mean([row["brier"] for row in rows])),
        "wrong_among_uncertain": float(np.mean(caught)) if caught else None,
        "by": {name: _by(rows, key) for name, key in BREAKDOWNS.items()},
        "protocols": _protocols(rows),
        "two_missing": _two_missing(rows),
        "risk_coverage": _risk(rows),
        "worst": _worst(rows),
    }


def _dices(rows: Sequence[Row]) -> Row:
    return {"cases": len(rows), "dice": mean_dices(row["protocols"][FULL]["dice"] for row in rows)}


def _bias_percent(rows: Sequence[Row], region: str) -> float | None:
    """Median of predicted less true volume in % of the true one, over the cases that have the region."""
    shares = [100 * row["bias_ml"][region] / ml for row in rows if (ml := row["truth_ml"][region]) > 0]
    return _median(shares) if shares else None


def _size(row: Row) -> str:
    whole = row["truth_ml"]["WT"]
    low, high = next(pair for pair in SIZES if pair[0] <= whole < pair[1])
    return f"{low:g} to {high:g} ml" if high < 1e9 else f"{low:g} ml and more"


BREAKDOWNS: Mapping[str, Callable[[Row], str]] = {
    "size": _size,
    "kind": lambda row: str(row["kind"]),
    "field": lambda row: f"{row['tesla']:g} T",
    "noise": lambda row: str(row["noise"]),
    "slices": lambda row: str(row["slices"]),
    "motion": lambda row: str(row["motion"]),
}


def _by(rows: Sequence[Row], key: Callable[[Row], str]) -> Row:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return {name: _dices(groups[name]) for name in sorted(groups, key=_in_order)}


def _in_order(name: str) -> tuple[float, str]:
    """Groups named by a number come in its order."""
    first = name.partition(" ")[0]
    return (float(first) if first.replace(".", "", 1).isdigit() else 0.0, name)


def _protocols(rows: Sequence[Row]) -> Row:
    """Mean Dice of each protocol over the cases that were looked at under every one of them."""
    deep = [row for row in rows if len(row["protocols"]) > 1]
    names = list(deep[0]["protocols"]) if deep else []
    return {
        name: {"cases": len(deep), "dice": mean_dices(row["protocols"][name]["dice"] for row in deep)}
        for name in names
        if all(name in row["protocols"] for row in deep)
    }


def _two_missing(rows: Sequence[Row]) -> Row | None:
    """WT lost by each pair of missing sequences, and the mean over those that leave FLAIR or T2."""
    deep = [row for row in rows if len(row["protocols"]) > 1]
    if not deep:
        return None
    whole = float(np.mean([row["protocols"][FULL]["dice"]["WT"] for row in deep]))
    lost = {
        name: whole - float(np.mean([row["protocols"][name]["dice"]["WT"] for row in deep])) for name in two_dropped()
    }
    kept = [loss for name, loss in lost.items() if not ("t2w" in name and "t2f" in name)]
    return {"lost_wt": lost, "mean_keeping_flair_or_t2": float(np.mean(kept))}


def _risk(rows: Sequence[Row]) -> Row:
    doubt = np.array([row["mean_vacuity"] if row["mean_vacuity"] is not None else 1.0 for row in rows])
    risk = np.array([1.0 - row["protocols"][FULL]["dice"]["WT"] for row in rows])
    coverage, mean = risk_coverage(-doubt, risk)
    return {"coverage": coverage, "risk": mean, "area": float(np.mean(mean))}


def _worst(rows: Sequence[Row], count: int = 5) -> list[Row]:
    def score(row: Row) -> float:
        return float(np.mean(list(row["protocols"][FULL]["dice"].values())))

    keep = ("number", "kind", "noise", "slices", "motion", "truth_ml")
    return [
        {**{key: row[key] for key in keep}, "dice": row["protocols"][FULL]["dice"]}
        for row in sorted(rows, key=score)[:count]
    ]


def healthy(rows: Sequence[Row]) -> Row:
    """False findings where there is no tumour."""
    volumes = [row["ml"] for row in rows]
    return {
        "cases": len(rows),
        "under_1_ml": sum(ml < SMALL_ML for ml in volumes),
        "share_under_1_ml": float(np.mean([ml < SMALL_ML for ml in volumes])),
        "largest_ml": float(max(volumes)),
        "flagged": float(np.mean([bool(row["flags"]) for row in rows])),
    }


def _mean_of(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    listed = list(rows)
    return {key: float(np.mean([row[key] for row in listed])) for key in listed[0]}


def _median(values: Sequence[Any]) -> float:
    return float(np.median(values))
