"""Prometheus itself says whether the rules are right.

promtool checks them and plays a bad and a good day to each alert: the alert's own rule and what it is computed from.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from helm.observability.files import ALERTS, FOLDER
from tests.observability.series import CASES, UP
from tests.servers.prometheus import missing, promtool
from tests.servers.require import require

pytestmark = pytest.mark.integration
RULES = FOLDER / "rules.yaml"


@pytest.fixture(scope="module", autouse=True)
def _prometheus() -> None:
    require("prometheus", missing())


def run_promtool(*arguments: str) -> str:
    done = subprocess.run([promtool(), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def days(name: str) -> list[dict[str, object]]:
    """A promtool test for the bad day and one for the good one: how many alerts of this name fire."""
    case = CASES[name]
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    return [
        {
            "name": f"{name} {kind}",
            "interval": case.every,
            "input_series": [{"series": s, "values": v} for s, v in {**UP, **series}.items()],
            "promql_expr_test": [
                {
                    "expr": f"{firing} > bool 0",
                    "eval_time": case.at,
                    "exp_samples": [{"labels": "{}", "value": 1}] if kind == "fires" else [],
                }
            ],
        }
        for kind, series in (("fires", case.fires), ("is quiet", case.quiet))
    ]


def script(name: str, folder: Path, tests: list[dict[str, object]]) -> str:
    """A promtool script with the rules that the alert needs: all of them would cost minutes."""
    [alert] = [alert for alert in ALERTS if alert.name == name]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    for group in groups:
        group["interval"] = CASES[name].every
        group["rules"] = [r for r in group["rules"] if r.get("alert") == name or r.get("record", "-") in alert.expr]
    rules, target = folder / "rules.yaml", folder / "test.yaml"
    rules.write_text(yaml.safe_dump({"groups": groups}))
    document = {"rule_files": [str(rules)], "evaluation_interval": CASES[name].every, "tests": tests}
    target.write_text(json.dumps(document))
    return str(target)


def test_the_rules_are_valid() -> None:
    assert "SUCCESS" in run_promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("name", [alert.name for alert in ALERTS])
def test_an_alert_fires_on_a_bad_day_and_is_quiet_on_a_good_one(name: str, tmp_path: Path) -> None:
    run_promtool("test", "rules", script(name, tmp_path, days(name)))


def test_an_alert_says_what_where_and_which_runbook(tmp_path: Path) -> None:
    name = "GlioServeDeadLetterBrake"
    expected = {
        "exp_labels": {"severity": "critical", "lane": "all", "namespace": "mri", "group": "glioserve.segment"},
        "exp_annotations": {
            "summary": "glioserve.segment has stopped consuming: too many messages in a row failed unexpectedly.",
            "runbook": f"docs/runbooks/{name}.md",
        },
    }
    day = days(name)[0]
    day["alert_rule_test"] = [{"eval_time": "20m", "alertname": name, "exp_alerts": [expected]}]
    run_promtool("test", "rules", script(name, tmp_path, [day]))
