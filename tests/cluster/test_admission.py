"""What a real API server says of the chart: restricted pods, known fields, disruption budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Api, Json, is_ready, wait
from tests.cluster.plane import NODES
from tests.cluster.release import NAMESPACE, Release

pytestmark = pytest.mark.cluster


def test_every_pod_of_the_chart_is_admitted_under_the_restricted_profile(release: Release) -> None:
    wanted = {
        str(item["metadata"]["name"]): int(item["spec"]["replicas"])
        for kind in ("deployments", "statefulsets")
        for item in release.api.items(release.path(kind, "apis/apps/v1"))
    }
    assert wanted
    wait(lambda: sum(map(is_ready, release.pods())) >= sum(wanted.values()), f"all pods of {wanted} are ready")
    refused = [event["note"] for event in _events(release) if event["reason"] == "FailedCreate"]
    assert refused == []


def test_the_same_namespace_refuses_a_pod_that_may_be_root(release: Release) -> None:
    container = {"name": "root", "image": "registry.invalid/root"}
    pod: dict[str, Any] = {"metadata": {"name": "root"}, "spec": {"containers": [container]}}
    answer = release.api.post(release.path("pods"), pod)
    assert answer.status_code == 403
    assert 'violates PodSecurity "restricted' in answer.json()["message"]


def test_the_api_server_knows_every_field_of_the_chart(release: Release, tmp_path: Path) -> None:
    objects = tmp_path / "objects.yaml"
    objects.write_text(release.manifest())
    said = release.api.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-n", NAMESPACE,
        "-f", objects,
    )  # fmt: skip
    assert all(line.endswith("serverside-applied (server dry run)") for line in said.splitlines())
    assert "scaledobject.keda.sh" in said
    assert "networkpolicy.networking.k8s.io" in said


def test_an_eviction_that_would_break_the_budget_is_answered_with_429(release: Release) -> None:
    """A node is drained while no other has room: the first gateway may go, the second must stay."""
    api = release.api
    first, second = wait(lambda: _ready(release, 2), "two gateways are ready")
    budget = release.path("poddisruptionbudgets", "apis/policy/v1") + "/glioserve-gateway"
    wait(lambda: api.get(budget)["status"].get("disruptionsAllowed") == 1, "one gateway may go")
    _cordon(api, cordoned=True)
    try:
        assert _evict(release, first) == 201
        wait(lambda: api.get(budget)["status"]["disruptionsAllowed"] == 0, "the budget is used up")
        assert _evict(release, second) == 429
    finally:
        _cordon(api, cordoned=False)
    wait(lambda: _ready(release, 2), "the replacement is ready")
    wait(lambda: api.get(budget)["status"]["disruptionsAllowed"] == 1, "one may go again")
    assert second in {pod["metadata"]["name"] for pod in release.pods("gateway")}


def _ready(release: Release, count: int) -> list[str] | None:
    names = [str(pod["metadata"]["name"]) for pod in release.pods("gateway") if is_ready(pod)]
    return names if len(names) == count else None


def _evict(release: Release, pod: str) -> int:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    return release.api.post(f"{release.path('pods')}/{pod}/eviction", eviction).status_code


def _cordon(api: Api, *, cordoned: bool) -> None:
    for name in NODES:
        api.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": cordoned}})


def _events(release: Release) -> list[Json]:
    return release.api.items(release.path("events", "apis/events.k8s.io/v1"))
