"""Rules, dashboards, runbooks and the registry of metrics speak of the same things."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from helm.observability.files import ALERTS, FOLDER, RECORDINGS, generated
from helm.observability.theatre import OUR_FAULT
from services.core.telemetry.metrics import Metrics
from services.navigation.domain.answers import Reason
from tests.observability.series import CASES

pytestmark = pytest.mark.unit

RUNBOOKS = FOLDER.parents[2] / "docs" / "runbooks"
PROMETHEUS_ITSELF = {"up", "ALERTS"}
TRITON = {  # docs/user_guide/metrics.md of the server
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_pending_request_count",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
}
NAME = re.compile(r"\b((?:glioserve|nv|process)_[a-z0-9_]+)\b")
RECORDED = re.compile(r"\b(?:instance|namespace):[a-z0-9_]+:[a-z0-9_]+")


def exposed() -> set[str]:
    """Names of all samples that a process can show; for a histogram and a counter more than one."""
    registry = CollectorRegistry()
    Metrics(registry)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",), "gauge": ("",)}
    return {f"{m.name}{suffix}" for m in registry.collect() for suffix in suffixes.get(m.type, ())}


def expressions() -> Iterator[str]:
    yield from (alert.expr for alert in ALERTS)
    yield from (recording.expr for recording in RECORDINGS)
    for text in generated().values():
        if text.startswith("{"):
            for panel in json.loads(text)["panels"]:
                yield from (target["expr"] for target in panel.get("targets", []))


def test_every_metric_that_rules_and_dashboards_name_is_exposed_by_someone() -> None:
    named = {name for e in expressions() for name in NAME.findall(RECORDED.sub("", e))}
    assert named - exposed() - TRITON - PROMETHEUS_ITSELF == set()


def test_every_bucket_that_a_rule_reads_exists() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.navigation_mask_seconds.labels("final")
    edges = {(s.name, s.labels["le"]) for m in metrics.registry.collect() for s in m.samples if "le" in s.labels}
    read = {pair for e in expressions() for pair in re.findall(r'(\w+_bucket)\{[^}]*\ble="([^"]+)"', e)}
    assert read
    assert read <= edges


def test_the_theatres_faults_are_among_its_reasons() -> None:
    assert set(OUR_FAULT.split("|")) <= {str(reason) for reason in Reason}


def test_every_recorded_series_that_is_read_is_recorded() -> None:
    read = {name for e in expressions() for name in RECORDED.findall(e)}
    assert read - {rule.name for rule in RECORDINGS} == set()


def test_every_metric_of_the_theatre_is_shown_somewhere() -> None:
    shown = " ".join(expressions())
    theatre = {n for n in exposed() if n.startswith(("glioserve_navigation", "glioserve_pose", "glioserve_theatre"))}
    assert {n for n in theatre if not n.endswith(("_count", "_sum"))} <= set(NAME.findall(shown))


def test_the_files_of_the_chart_are_what_the_generator_writes() -> None:
    there = {str(p.relative_to(FOLDER)): p.read_text() for p in FOLDER.rglob("*") if p.is_file()}
    wanted = generated()
    assert {name: there.get(name) for name in wanted} == wanted, "type: python -m helm.observability"


def test_each_alert_has_a_runbook_and_a_test_and_no_other_exists() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(names) == len(set(names))
    assert {p.stem for p in RUNBOOKS.glob("*.md")} - {"README"} == set(names)
    assert set(CASES) == set(names)


@pytest.mark.parametrize("name", [alert.name for alert in ALERTS])
def test_a_runbook_says_what_to_look_at_and_what_to_do(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert all(part in text for part in ("**What it means.**", "**Look at**", "**Do**"))


def test_no_label_of_any_metric_can_name_a_patient_or_a_study() -> None:
    allowed = {
        *("stage", "lane", "status", "state", "topic", "code", "group", "model", "transport", "kind", "route"),
        *("method", "door", "result", "reason", "folder"),
    }
    metrics = vars(Metrics(CollectorRegistry())).values()
    assert {label for m in metrics for label in getattr(m, "_labelnames", ())} <= allowed


def test_panels_have_their_own_place_and_a_legend() -> None:
    for text in generated().values():
        if not text.startswith("{"):
            continue
        panels = json.loads(text)["panels"]
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
        assert len(places) == len(set(places))
        assert all(target["legendFormat"] for p in panels for target in p.get("targets", []))
