"""What scales each component: real topics, real groups, never more than there is work for, never work that is lost."""

from __future__ import annotations

import pytest

from services.core.bus.topics import BUS_LANES, request_topic, retry_topic, stage_group
from services.core.contracts.enums import Lane, Stage
from tests.chart.chart import VALUE_SETS, Object, component, objects, of_kind, selects

pytestmark = pytest.mark.integration
STAGES = {
    "preprocessing": Stage.PREPARE,
    "fusion-segmentation": Stage.SEGMENT,
    "molecular-subtyping": Stage.SUBTYPE,
    "monitoring": Stage.COMPARE,
    "reporting": Stage.REPORT,
}
PROMETHEUS = "autoscaling.prometheusAddress=http://prometheus:9090"


def scaled(found: list[Object], kind: str) -> dict[str, Object]:
    return {component(item): item["spec"] for item in of_kind(found, kind)}


def test_each_stage_is_scaled_by_the_lag_of_its_own_topics_and_its_own_group() -> None:
    objects_of = scaled(objects("production"), "ScaledObject")
    for name, stage in STAGES.items():
        triggers = [trigger["metadata"] for trigger in objects_of[name]["triggers"]]
        first = {request_topic(stage, lane) for lane in BUS_LANES}
        assert {trigger["topic"] for trigger in triggers} == first | {retry_topic(topic) for topic in first}
        assert {trigger["consumerGroup"] for trigger in triggers} == {stage_group(stage)}
        assert all(trigger["excludePersistentLag"] == "false" for trigger in triggers), "a study outlasts a look"
        stat = next(t for t in triggers if t["topic"] == request_topic(stage, Lane.STAT))
        assert stat["lagThreshold"] == "1"


@pytest.mark.parametrize("values", VALUE_SETS)
def test_no_stage_ever_has_more_pods_than_partitions_and_none_goes_to_zero(values: str) -> None:
    found = objects(values)
    for kind, low, high in (
        ("ScaledObject", "minReplicaCount", "maxReplicaCount"),
        ("HorizontalPodAutoscaler", "minReplicas", "maxReplicas"),
    ):
        for name, spec in scaled(found, kind).items():
            assert 1 <= spec[low] <= spec[high]
            if name in STAGES:
                assert spec[high] <= (8 if values == "production" else 4)


@pytest.mark.parametrize("apis", [("keda.sh/v1alpha1",), ()], ids=["keda", "bare"])
@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_scaler_has_a_target_and_every_target_one_scaler_or_a_number(values: str, apis: tuple[str, ...]) -> None:
    found = objects(values, *(["autoscaling.mode=auto"] if values == "production" else []), apis=apis)
    targets = [
        item["spec"]["scaleTargetRef"]["name"]
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for item in of_kind(found, kind)
    ]
    assert len(targets) == len(set(targets))
    for workload in of_kind(found, "Deployment"):
        assert ("replicas" in workload["spec"]) != (workload["metadata"]["name"] in targets)
    assert set(targets) <= {workload["metadata"]["name"] for workload in of_kind(found, "Deployment")}
    assert bool(of_kind(found, "ScaledObject")) == (bool(apis) and values in {"production", "timeslice"})


def test_the_pool_is_scaled_by_waiting_requests_and_the_theatre_by_sessions_with_a_spare_on_top() -> None:
    found = scaled(objects("production", "theatre.scale.sessions=3", "theatre.scale.spare=2"), "ScaledObject")
    pool, theatre = found["triton"]["triggers"], found["theatre"]["triggers"]
    assert "nv_inference_pending_request_count" in pool[0]["metadata"]["query"]
    assert theatre[0]["metadata"]["query"].startswith("sum(glioserve_navigation_sessions{")
    assert theatre[0]["metadata"]["query"].endswith(" + 6")  # two pods of three sessions each
    assert theatre[0]["metadata"]["threshold"] == "3"
    assert found["theatre"]["minReplicaCount"] == 2
    assert 'namespace="imaging"' in theatre[0]["metadata"]["query"]


def test_a_source_of_numbers_that_dies_takes_no_pod_away() -> None:
    for spec in scaled(objects("production"), "ScaledObject").values():
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_pods_go_one_at_a_time_and_late() -> None:
    found = objects("production")
    behaviours = [s["behavior"] for s in scaled(found, "HorizontalPodAutoscaler").values()]
    behaviours += [
        s["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] for s in scaled(found, "ScaledObject").values()
    ]
    for behaviour in behaviours:
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 600
        assert behaviour["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_without_keda_the_ward_is_scaled_by_cpu_and_theatre_pods_keep_their_number() -> None:
    found = objects("timeslice", apis=())
    assert set(scaled(found, "HorizontalPodAutoscaler")) == {"gateway", "triton", *STAGES}
    theatre = next(w for w in of_kind(found, "Deployment") if component(w) == "theatre")
    assert theatre["spec"]["replicas"] == 2


def test_without_prometheus_keda_scales_the_stages_alone() -> None:
    found = objects("timeslice")
    assert set(scaled(found, "ScaledObject")) == set(STAGES)
    assert set(scaled(objects("timeslice", PROMETHEUS), "ScaledObject")) == {*STAGES, "triton", "theatre"}


@pytest.mark.parametrize("values", VALUE_SETS)
def test_budgets_take_the_right_pods_and_never_all_of_what_callers_wait_for(values: str) -> None:
    found = objects(values)
    budgets = of_kind(found, "PodDisruptionBudget")
    for budget in budgets:
        chosen = [
            workload
            for workload in of_kind(found, "Deployment")
            if selects(budget["spec"]["selector"]["matchLabels"], workload["spec"]["template"]["metadata"]["labels"])
        ]
        assert [component(workload) for workload in chosen] == [component(budget)]
    kept = {component(b) for b in budgets if b["spec"].get("minAvailable") == 1}
    expected = {"minimal": set(), "external": {"gateway"}}.get(values, {"gateway", "triton", "theatre"})
    assert kept == expected
