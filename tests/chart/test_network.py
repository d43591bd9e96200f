"""Nothing is open that no edge names, and every edge is open on both of its sides."""

from __future__ import annotations

import pytest

from tests.chart.chart import VALUE_SETS, Object, component, objects, of_kind, selects

pytestmark = pytest.mark.integration
WITH_POLICIES = tuple(values for values in VALUE_SETS if values != "timeslice")
KUBELET_ONLY = {8000}  # Triton's HTTP, where inference is locked; probes come from the node


def labels_of(workload: Object) -> Object:
    labels: Object = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def ingress(found: list[Object], labels: Object) -> set[int]:
    return {
        port["port"]
        for policy in of_kind(found, "NetworkPolicy")
        if "Ingress" in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"]["matchLabels"], labels)
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
    }


@pytest.mark.parametrize("values", WITH_POLICIES)
def test_every_pod_is_denied_everything_by_default(values: str) -> None:
    found = objects(values)
    deny = [p for p in of_kind(found, "NetworkPolicy") if not {"ingress", "egress"} & set(p["spec"])]
    assert len(deny) == 1
    assert set(deny[0]["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    for workload in of_kind(found, "Deployment"):
        assert selects(deny[0]["spec"]["podSelector"]["matchLabels"], labels_of(workload))


@pytest.mark.parametrize("values", WITH_POLICIES)
def test_every_port_of_every_pod_is_covered_by_a_policy_and_no_policy_opens_another(values: str) -> None:
    found = objects(values)
    for workload in of_kind(found, "Deployment"):
        pod = workload["spec"]["template"]["spec"]
        together = [*pod.get("initContainers", []), *pod["containers"]]
        opened = {port["containerPort"] for c in together for port in c.get("ports", [])}
        local = any("--grpc-address=127.0.0.1" in c.get("command", []) for c in together)
        expected = opened - ({8001} if local else set())
        assert ingress(found, labels_of(workload)) == expected, workload["metadata"]["name"]
        assert not expected & KUBELET_ONLY


@pytest.mark.parametrize("values", WITH_POLICIES)
def test_every_service_leads_to_a_port_that_its_pods_have_and_that_is_open(values: str) -> None:
    found = objects(values)
    for service in of_kind(found, "Service"):
        chosen = [w for w in of_kind(found, "Deployment") if selects(service["spec"]["selector"], labels_of(w))]
        assert len(chosen) == 1, service["metadata"]["name"]
        pod = chosen[0]["spec"]["template"]["spec"]
        ports = {p["name"]: p["containerPort"] for c in pod["containers"] for p in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] in ingress(found, labels_of(chosen[0]))


@pytest.mark.parametrize("values", WITH_POLICIES)
def test_no_ingress_rule_lets_everybody_in(values: str) -> None:
    for policy in of_kind(objects(values), "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], policy["metadata"]["name"]
            assert all(peer for peer in rule["from"])
            assert rule["ports"]


def test_where_nobody_is_named_nobody_comes_in() -> None:
    found = objects("production", "network.clients.navigation=null", "network.clients.gateway=null")
    theatre = next(w for w in of_kind(found, "Deployment") if component(w) == "theatre")
    rules = [
        rule
        for policy in of_kind(found, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"]["matchLabels"], labels_of(theatre))
        for rule in policy["spec"].get("ingress", [])
        if any(port["port"] in {7443, 7444} for port in rule["ports"])
    ]
    assert all("podSelector" in peer for rule in rules for peer in rule["from"])


@pytest.mark.parametrize("values", WITH_POLICIES)
def test_each_inner_edge_is_open_on_both_sides(values: str) -> None:
    found = objects(values)
    by_name = {policy["metadata"]["name"]: policy for policy in of_kind(found, "NetworkPolicy")}
    inner = [n for n, p in by_name.items() if n.endswith("-out") and "podSelector" in _peer(p, "egress", "to")]
    inner = [name for name in inner if not name.endswith("-dns-out")]
    for name in inner:
        sends, receives = by_name[name], by_name[f"{name.removesuffix('-out')}-in"]
        if "part-of" not in str(_peer(sends, "egress", "to")):
            continue  # a server of somebody else in this cluster
        assert _peer(sends, "egress", "to")["podSelector"] == receives["spec"]["podSelector"]
        assert _peer(receives, "ingress", "from")["podSelector"] == sends["spec"]["podSelector"]
        assert sends["spec"]["egress"][0]["ports"] == receives["spec"]["ingress"][0]["ports"]


def test_only_who_must_reaches_what_holds_data() -> None:
    reach: dict[str, set[str]] = {}
    for policy in of_kind(objects("production"), "NetworkPolicy"):
        name = policy["metadata"]["name"]
        for server in ("kafka", "postgresql", "s3", "triton"):
            if name.endswith(f"-{server}-out"):
                reach.setdefault(server, set()).add(component(policy))
    stages = {"preprocessing", "fusion-segmentation", "molecular-subtyping", "monitoring", "reporting"}
    assert reach == {
        "kafka": {"gateway", *stages},
        "postgresql": {"gateway"},
        "s3": {"gateway", "theatre", *stages},
        "triton": {"fusion-segmentation"},
    }


def _peer(policy: Object, way: str, side: str) -> Object:
    rules = policy["spec"].get(way) or [{}]
    peers = rules[0].get(side) or [{}]
    peer: Object = peers[0]
    return peer
