"""The files of the chart that are generated: rules for Prometheus, dashboards for Grafana. Nobody edits them by hand.

`python -m helm.observability` writes them; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from helm.observability import machines, theatre, ward
from helm.observability.flow import FLOW
from helm.observability.panel import Dashboard, rendered
from helm.observability.room import ROOM
from helm.observability.rule import Alert, Recording

FOLDER = Path(__file__).parents[1] / "glioserve" / "files"
RUNBOOKS = "docs/runbooks"
HEAD = "# Generated: python -m helm.observability\n"

RECORDINGS: list[Recording] = [*theatre.RECORDINGS, *ward.RECORDINGS, *machines.RECORDINGS]
ALERTS: list[Alert] = [*theatre.ALERTS, *ward.ALERTS, *machines.ALERTS]
DASHBOARDS: list[Dashboard] = [FLOW, ROOM]


class _Dumper(yaml.SafeDumper):
    """Expressions over several lines stay readable."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def generated() -> dict[str, str]:
    """Path inside the chart's `files` -> text."""
    boards = {f"dashboards/{b.uid}.json": json.dumps(rendered(b), indent=1) + "\n" for b in DASHBOARDS}
    groups = {"groups": [*_recording_groups(), *_alert_groups()]}
    return {**boards, "rules.yaml": HEAD + yaml.dump(groups, Dumper=_Dumper, sort_keys=False, width=118)}


def write() -> None:
    """Writes all of them."""
    for name, text in generated().items():
        target = FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def _recording_groups() -> list[dict[str, Any]]:
    rules = [{"record": recording.name, "expr": recording.expr} for recording in RECORDINGS]
    return [{"name": "glioserve.recorded", "interval": "15s", "rules": rules}]


def _alert_groups() -> list[dict[str, Any]]:
    areas = {"theatre": theatre.ALERTS, "ward": ward.ALERTS, "machines": machines.ALERTS}
    return [
        {"name": f"glioserve.{area}", "interval": "15s", "rules": [_rule(alert) for alert in alerts]}
        for area, alerts in areas.items()
    ]


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": {"severity": alert.severity, "lane": alert.lane},
        "annotations": {"summary": alert.says, "runbook": f"{RUNBOOKS}/{alert.name}.md"},
    }
