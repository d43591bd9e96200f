"""What the chart gives to the Prometheus operator and to Grafana is what the generator wrote, for all pods."""

from __future__ import annotations

import json

import pytest
import yaml

from helm.observability.files import FOLDER
from tests.chart.chart import NAMESPACE, VALUE_SETS, Object, containers, objects, of_kind, selects

pytestmark = pytest.mark.integration


def monitor(found: list[Object]) -> Object:
    [only] = of_kind(found, "PodMonitor")
    spec: Object = only["spec"]
    return spec


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_container_that_stays_is_read_at_its_metrics(values: str) -> None:
    found = objects(values)
    watched = monitor(found)
    ports = {endpoint["port"] for endpoint in watched["podMetricsEndpoints"]}
    for container in containers(found):
        labels = container.workload["spec"]["template"]["metadata"]["labels"]
        assert selects(watched["selector"]["matchLabels"], labels), container.name
        if container.stays:
            own = {port["name"] for port in container.spec["ports"]}
            assert len(own & ports) == 1, container.name


def test_the_job_has_the_name_that_the_rules_look_for() -> None:
    found = objects("production")
    label = monitor(found)["jobLabel"]
    jobs = {w["spec"]["template"]["metadata"]["labels"][label] for w in of_kind(found, "Deployment")}
    assert jobs == {"glioserve"}
    assert 'job="glioserve"' in (FOLDER / "rules.yaml").read_text()


def test_the_operator_gets_the_rules_that_were_tested() -> None:
    [rule] = of_kind(objects("production"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((FOLDER / "rules.yaml").read_text())


def test_grafana_gets_both_dashboards() -> None:
    boards = [c for c in of_kind(objects("minimal"), "ConfigMap") if "grafana_dashboard" in c["metadata"]["labels"]]
    texts = {name: text for board in boards for name, text in board["data"].items()}
    written = {path.name: path.read_text() for path in (FOLDER / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in texts.items()} == {n: json.loads(t) for n, t in written.items()}
    assert len(texts) == 2


def test_the_operators_selectors_find_them_by_the_labels_of_the_site() -> None:
    found = objects("production")
    for kind in ("PodMonitor", "PrometheusRule"):
        [item] = of_kind(found, kind)
        assert item["metadata"]["labels"]["release"] == "prometheus"
        assert item["metadata"].get("namespace", NAMESPACE) == NAMESPACE


def test_without_the_operator_or_against_the_sites_will_none_of_them_is_made() -> None:
    kinds = {"PodMonitor", "PrometheusRule"}
    assert not kinds & {item["kind"] for item in objects("production", apis=("keda.sh/v1alpha1",))}
    off = [f"observability.{name}=false" for name in ("podMonitor", "prometheusRule", "dashboards")]
    assert not (kinds | {"ConfigMap"}) & {item["kind"] for item in objects("production", *off)}
