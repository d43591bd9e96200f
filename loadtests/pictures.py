"""Pictures of the chart's dashboards from a load test: a real Prometheus reads the run, matplotlib draws what it says.

`python -m loadtests.pictures --out FOLDER flood-with-theatre --minutes 9`: all after the scenario's name goes to it.
With `--beside HOME` it reads a load test that runs already, until its home is gone.
Panels, expressions and rules are those of the chart; only Grafana is not in it, and each picture says so.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helm.observability.files import DASHBOARDS, FOLDER
from services.core.runtime.home import Home, read_endpoints
from tests.servers.prometheus import Prometheus

LOOK_EVERY_S = 1.0
SCRAPE_S = 2
POINTS = 400
COLUMNS = 3
MOST_LINES = 10
VARIABLES = {"$__rate_interval": "30s", "$namespace": ".*", "$lane": ".*"}
UNITS: Mapping[str, tuple[float, str]] = {
    "s": (1.0, "s"),
    "bytes": (2**-20, "MiB"),
    "Bps": (2**-20, "MiB/s"),
    "percentunit": (100.0, "%"),
    "reqps": (1.0, "/s"),
}
Series = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The run: seconds since 1970, and what it was."""

    start: float
    end: float
    words: str


def main() -> int:
    """Runs the scenario under Prometheus and writes one PNG a dashboard, and alerts.json: what fired in the run."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beside", type=Path, help="home of a load test that runs already")
    parser.add_argument("--words", default="a load test", help="what that one is, for the title")
    given, scenario = parser.parse_known_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Prometheus(Path(folder) / "prometheus", SCRAPE_S) as server:
        span = beside(server, given.beside, given.words) if given.beside else follow(server, Path(folder), scenario)
        fired = alerts(server, span)
        (given.out / "alerts.json").write_text(json.dumps({"run": span.words, "fired": fired}, indent=1) + "\n")
        for board in DASHBOARDS:
            document = json.loads((FOLDER / "dashboards" / f"{board.uid}.json").read_text())
            target = given.out / f"{board.uid}.png"
            draw(document, server, span, target)
            print(target)
    print(json.dumps(fired, indent=1))
    return 0


def follow(server: Prometheus, folder: Path, scenario: Sequence[str]) -> Span:
    """Starts the scenario, tells Prometheus which processes are there, until it ends. Raises CalledProcessError."""
    command = [sys.executable, "-m", "loadtests", *scenario, "--out", str(folder / "results")]
    start = time.time()
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder)}) as load:
        while load.poll() is None:
            server.targets(processes(folder.glob("glioserve-load-*/home")))
            time.sleep(LOOK_EVERY_S)
    if not list((folder / "results").glob("*.json")):  # one that ended with open studies has written its results
        raise subprocess.CalledProcessError(load.returncode, command)
    return _span(start, " ".join(scenario))


def beside(server: Prometheus, home: Path, words: str) -> Span:
    """Tells Prometheus which processes are in a home, until it is removed."""
    start = time.time()
    while home.is_dir():
        server.targets(processes([home]))
        time.sleep(LOOK_EVERY_S)
    return _span(start, words)


def _span(start: float, words: str) -> Span:
    return Span(start=start, end=time.time(), words=f"{words}, {time.strftime('%Y-%m-%d', time.gmtime())}")


def processes(homes: Iterable[Path]) -> dict[str, str]:
    """Name -> address of what shows metrics in these homes."""
    found = {
        name: doors.get("health") or doors.get("metrics", "")
        for home in homes
        for name, doors in read_endpoints(Home(home)).items()
    }
    return {name: address for name, address in found.items() if address}


def alerts(server: Prometheus, span: Span) -> dict[str, float]:
    """Alerts that fired in the run, with the seconds that they did."""
    step = 5.0
    rows = server.range('ALERTS{alertstate="firing"}', span.start, span.end, step)
    seconds: dict[str, float] = {}
    for row in rows:
        name = row["metric"]["alertname"]
        seconds[name] = max(seconds.get(name, 0.0), step * len(row["values"]))
    return seconds


def draw(document: Mapping[str, Any], server: Prometheus, span: Span, target: Path) -> None:
    """Draws a dashboard."""
    panels = [panel for panel in document["panels"] if panel["type"] == "timeseries"]
    lines = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(20, 4 * lines), layout="constrained")
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for place in grid.flat[len(panels) :]:
        place.axis("off")
    for panel, place in zip(panels, grid.flat, strict=False):
        found = [
            (legend(entry["legendFormat"], row["metric"]), row["values"])
            for entry in panel["targets"]
            for row in server.range(filled(entry["expr"]), span.start, span.end, (span.end - span.start) / POINTS)
        ]
        _panel(place, panel, found, span)
    figure.suptitle(
        f"{document['title']}\n{span.words}, every {SCRAPE_S} s\n"
        f"Read by a real Prometheus, drawn by matplotlib: no screenshot of Grafana. {document['description']}",
        fontsize=13,
    )
    figure.savefig(target, dpi=75)


def filled(expr: str) -> str:
    """The expression with Grafana's variables set."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def legend(form: str, labels: Mapping[str, str]) -> str:
    """Grafana's `{{label}}` filled; labels that one machine does not have leave nothing behind."""
    return " ".join(re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), form).split())


def _curve(values: Sequence[Any], span: Span, factor: float) -> tuple[list[float], list[float]]:
    """Seconds from the start, and values; a quantile of nothing is no point."""
    points = [(at - span.start, factor * float(text)) for at, text in values if not math.isnan(float(text))]
    return [at for at, _ in points], [value for _, value in points]


def _panel(place: Axes, panel: Mapping[str, Any], found: Sequence[tuple[str, Sequence[Any]]], span: Span) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    factor, unit = UNITS.get(defaults["unit"], (1.0, ""))
    curves = {name: curve for name, values in found if (curve := _curve(values, span, factor))[0]}
    largest = sorted(curves, key=lambda name: -max(curves[name][1]))
    for name in largest[:MOST_LINES]:
        place.plot(*curves[name], label=name or "all", linewidth=1.2)
    limit = defaults["thresholds"]["steps"][-1]["value"]
    if limit is not None and curves:
        place.axhline(factor * limit, color="red", linestyle="--", linewidth=0.8)
    more = f" ({len(curves) - MOST_LINES} smaller ones left out)" if len(curves) > MOST_LINES else ""
    place.set_title(f"{panel['title']}{f', {unit}' if unit else ''}{more}", fontsize=10, loc="left")
    place.set_xlim(0, span.end - span.start)
    place.set_ylim(bottom=0)
    place.set_xlabel("seconds", fontsize=8)
    place.tick_params(labelsize=8)
    place.grid(alpha=0.3)
    if curves:
        place.legend(fontsize=7, loc="upper left", ncols=2 if len(curves) > 5 else 1, framealpha=0.6)
    else:
        place.text(0.5, 0.5, "nothing in this run", ha="center", va="center", transform=place.transAxes, fontsize=9)


if __name__ == "__main__":
    sys.exit(main())
