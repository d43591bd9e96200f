"""Grafana's JSON from a few words: panels, rows and the dashboard around them. The order of keys never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = 39  # Grafana 11
WIDTH, COLUMNS, HEIGHT = 24, 3, 8
HERE = 'job="glioserve",namespace=~"$namespace"'
SOURCE = {"type": "prometheus", "uid": "${source}"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One diagram over time. `queries`: (expression, legend). `limit` is drawn as a line: the objective.

    `unit` is one of Grafana's: s, bytes, Bps, short, percentunit, reqps.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    limit: float | None = None
    stacked: bool = False
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A page. `choices`: further variables, name -> values."""

    uid: str
    title: str
    says: str
    rows: Sequence[Row]
    choices: dict[str, Sequence[str]]


def quantile(q: float, metric: str, by: str, *matchers: str) -> str:
    """The q-quantile of a histogram over Grafana's interval."""
    selector = ",".join((HERE, *matchers))
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))"


def rate(metric: str, by: str, *matchers: str) -> str:
    """Events a second, by labels."""
    return f"sum by ({by}) (rate({metric}{{{','.join((HERE, *matchers))}}}[$__rate_interval]))"


def count(metric: str, by: str, *matchers: str) -> str:
    """Events in each interval of the picture, by labels."""
    return f"sum by ({by}) (increase({metric}{{{','.join((HERE, *matchers))}}}[$__rate_interval]))"


def total(metric: str, by: str, *matchers: str) -> str:
    """Events since the processes started: for those so rare that the first of each kind must be seen."""
    return level(metric, by, *matchers)


def level(metric: str, by: str, *matchers: str, how: str = "sum") -> str:
    """A gauge, by labels."""
    return f"{how} by ({by}) ({metric}{{{','.join((HERE, *matchers))}}})"


def rendered(board: Dashboard) -> Json:
    """The JSON that Grafana loads."""
    panels: list[Json] = []
    y = 0
    for row in board.rows:
        panels.append(
            {
                "collapsed": False,
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
                "id": len(panels) + 1,
                "panels": [],
                "title": row.title,
                "type": "row",
            }
        )
        y += 1
        for place, panel in enumerate(row.panels):
            column, line = place % COLUMNS, place // COLUMNS
            where = {"h": HEIGHT, "w": WIDTH // COLUMNS, "x": column * WIDTH // COLUMNS, "y": y + line * HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, where))
        y += -(-len(row.panels) // COLUMNS) * HEIGHT
    return {
        "annotations": {"list": []},
        "description": board.says,
        "editable": False,
        "graphTooltip": 1,
        "panels": panels,
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "tags": ["glioserve"],
        "templating": {"list": _variables(board)},
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "title": board.title,
        "uid": board.uid,
        "version": 1,
    }


def _panel(panel: Panel, number: int, where: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    custom: Json = {"fillOpacity": 40 if panel.stacked else 5, "lineWidth": 1, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"group": "A", "mode": "normal"}
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
        custom["thresholdsStyle"] = {"mode": "dashed"}
    return {
        "datasource": SOURCE,
        "description": panel.says,
        "fieldConfig": {
            "defaults": {
                "custom": custom,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "unit": panel.unit,
            },
            "overrides": [],
        },
        "gridPos": where,
        "id": number,
        "options": {
            "legend": {"calcs": ["max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"datasource": SOURCE, "expr": expr, "legendFormat": legend, "range": True, "refId": chr(ord("A") + n)}
            for n, (expr, legend) in enumerate(panel.queries)
        ],
        "title": panel.title,
        "type": "timeseries",
    }


def _variables(board: Dashboard) -> list[Json]:
    source: Json = {"label": "Prometheus", "name": "source", "query": "prometheus", "type": "datasource"}
    namespace: Json = {
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "datasource": SOURCE,
        "includeAll": True,
        "multi": False,
        "name": "namespace",
        "query": 'label_values(up{job="glioserve"}, namespace)',
        "refresh": 2,
        "type": "query",
    }
    chosen: list[Json] = [
        {
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
            "includeAll": True,
            "multi": True,
            "name": name,
            "options": [{"selected": False, "text": value, "value": value} for value in values],
            "query": ",".join(values),
            "type": "custom",
        }
        for name, values in board.choices.items()
    ]
    return [source, namespace, *chosen]
