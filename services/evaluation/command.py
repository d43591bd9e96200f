"""The command line: which set, how many cases, where the lines and the report go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.core.contracts.errors import GlioServeError
from services.evaluation.bars import bars
from services.evaluation.page import page
from services.evaluation.pictures import picture_path
from services.evaluation.runs import Extent, healthy, markers, operated, phantoms, reference, synthetic
from services.evaluation.served import ServedModels
from services.evaluation.summary import summarised

WHAT = ("phantoms", "operated", "synthetic", "healthy", "markers", "reference", "report")
USUAL = {"phantoms": 100, "operated": 20, "synthetic": 24, "healthy": 100, "markers": 1000}
DEEP = 20


def main(arguments: Sequence[str]) -> int:
    """Measures a set, or writes the report. Returns the exit code: 2 for a wrong call, 1 when it cannot be done."""
    given = parser().parse_args(arguments)
    try:
        models = ServedModels(given.models, given.threads)
    except (GlioServeError, OSError) as error:
        sys.stderr.write(f"evaluate: {error}\n")
        return 1
    if given.what == "report":
        return report(models, given.out)
    if given.what == "reference":
        return _reference(models, given.data)
    count = given.cases if given.cases is not None else USUAL[given.what]
    extent = Extent(count=count, first=given.first, deep=min(given.deep, count), all_drops=given.all_drops)
    if given.what == "phantoms":
        phantoms(models, given.out, extent)
    elif given.what == "operated":
        operated(models, given.out, extent)
    elif given.what == "synthetic":
        synthetic(models, given.out, extent)
    elif given.what == "healthy":
        healthy(models, given.out, extent, given.data)
    else:
        markers(models, given.out, extent, given.cases_from)
    return report(models, given.out)


def report(models: ServedModels, folder: Path) -> int:
    """Writes report.json and report.html from the lines, and the bars to standard output."""
    found = summarised(folder, models.origin)
    judged = bars(found)
    found["bars"] = [
        {
            "name": b.name,
            "value": b.value,
            "bar": b.bar,
            "at_least": b.at_least,
            "reached": b.reached,
            "missing": b.missing,
        }
        for b in judged
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n")
    worst = [row["number"] for row in found.get("phantoms", {}).get("worst", [])]
    pictures = {n: path.read_bytes() for n in worst if (path := picture_path(folder, models.digests, n)).exists()}
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    (folder / "report.html").write_text(page(found, judged, made_at, pictures))
    for bar in judged:
        if bar.value is not None:
            verdict = "reached" if bar.reached else f"missed by {bar.missing:.3f}"
            side = "at least" if bar.at_least else "at most"
            sys.stdout.write(f"{bar.name:58} {bar.value:6.3f}  {side} {bar.bar:g}: {verdict}\n")
    sys.stdout.write(f"{folder / 'report.html'}\n")
    return 0


def _reference(models: ServedModels, data: Path | None) -> int:
    if data is None:
        sys.stderr.write("evaluate: set GLIOSERVE_REFERENCE_DATA (or --data) to the folder that holds glioma_case\n")
        return 2
    try:
        entry = reference(models, data)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"evaluate: {error}\n")
        return 1
    sys.stdout.write(json.dumps(entry, indent=1, sort_keys=True) + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """Arguments of `glioserve evaluate`."""
    made = argparse.ArgumentParser(prog="glioserve evaluate", description=__doc__)
    made.add_argument("what", choices=WHAT)
    made.add_argument("--out", type=Path, default=Path(".cache/evaluation"), help="folder of the lines and the report")
    made.add_argument("--models", type=Path, default=Path("triton_models"), help="model repository")
    made.add_argument("--data", type=Path, help="reference data; `glioserve` fills in GLIOSERVE_REFERENCE_DATA")
    made.add_argument("--cases", type=int, help=f"default {USUAL}")
    made.add_argument("--first", type=int, default=0)
    made.add_argument("--deep", type=int, default=DEEP, help="phantoms that are looked at under every protocol")
    made.add_argument("--all-drops", action="store_true", help="all 45 pairs of ten sequences too (slow)")
    made.add_argument(
        "--cases-from", type=Path, help="markers: prepared cases kept by the training, instead of new ones"
    )
    made.add_argument("--threads", type=int, default=1)
    return made
