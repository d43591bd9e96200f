"""What holds for every container of every value set: limits, probes, privileges, room, and how it stops."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import yaml

from services.core.bus.policy import RetryPolicy
from services.navigation.linger import SETTLE_S
from services.navigation.settings import NavigationSettings
from tests.chart.chart import CHART, VALUE_SETS, Container, Object, containers, objects, of_kind

pytestmark = pytest.mark.integration
SHM = "/dev/shm"  # noqa: S108 - the mount point in a pod
MIB = {"Mi": 1, "Gi": 1024}


def everywhere() -> Iterator[tuple[str, Container]]:
    for values in VALUE_SETS:
        for container in containers(objects(values)):
            yield values, container


def mib(quantity: str) -> int:
    return int(quantity[:-2]) * MIB[quantity[-2:]]


def test_every_container_has_requests_and_limits_and_memory_is_never_overcommitted() -> None:
    for values, container in everywhere():
        resources = container.spec["resources"]
        for side in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(resources[side]), (values, container.name)
        shm = container.mounts(SHM)
        same = resources["requests"]["memory"] == resources["limits"]["memory"]
        assert same or shm, (values, container.name)


def test_every_container_runs_with_the_least_privilege() -> None:
    for values, container in everywhere():
        security, pod = container.spec["securityContext"], container.pod["securityContext"]
        assert security["readOnlyRootFilesystem"], (values, container.name)
        assert not security["allowPrivilegeEscalation"]
        assert security["runAsNonRoot"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["runAsUser"] > 0
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(container.pod)


def test_no_pod_learns_of_services_by_its_environment_or_carries_a_token_it_does_not_need() -> None:
    for values, container in everywhere():
        assert container.pod["enableServiceLinks"] is False, (values, container.name)
        assert container.pod["automountServiceAccountToken"] is False, (values, container.name)


def test_every_container_that_stays_is_probed_and_its_life_depends_on_nothing() -> None:
    for values, container in everywhere():
        if not container.stays:
            assert not {"livenessProbe", "readinessProbe", "startupProbe"} & set(container.spec)
            continue
        start, ready, alive = (
            container.spec[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")
        )
        assert alive["path"] in {"/live", "/v2/health/live"}, (values, container.name)
        assert ready["path"] in {"/ready", "/v2/health/ready"}
        assert start["port"] == ready["port"] == alive["port"]


def test_a_pool_pod_is_ready_only_while_a_canary_infers_through_it() -> None:
    for values in VALUE_SETS:
        pods: dict[str, list[Container]] = {}
        for container in containers(objects(values)):
            pods.setdefault(container.workload["metadata"]["name"], []).append(container)
        for together in pods.values():
            if not any(container.spec["name"] == "triton" for container in together):
                continue
            watching = [c for c in together if c.env().get("GLIOSERVE_TRITON_URL") == "127.0.0.1:8001"]
            assert watching, values
            assert all(c.spec["readinessProbe"]["httpGet"]["path"] == "/ready" for c in watching)


def test_every_health_port_is_named_health_and_no_two_containers_of_a_pod_share_a_port() -> None:
    for values in VALUE_SETS:
        taken: dict[str, list[int]] = {}
        for container in containers(objects(values)):
            ports = [port["containerPort"] for port in container.spec.get("ports", [])]
            names = [port["name"] for port in container.spec.get("ports", [])]
            if container.stays and container.spec["name"] != "triton":
                assert names[0] == "health", (values, container.name)
                assert container.spec["livenessProbe"]["httpGet"]["port"] == ports[0]
            taken.setdefault(container.workload["metadata"]["name"], []).extend(ports)
        assert all(len(ports) == len(set(ports)) for ports in taken.values()), values


def test_a_pod_has_time_to_stop() -> None:
    """preStop, the drain of the consumer loop or of the sessions, Triton after its callers, and a margin."""
    for values, container in everywhere():
        grace = container.pod["terminationGracePeriodSeconds"]
        sleep = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = 0.0
        if container.spec["name"] == "triton":
            told = next(word for word in container.spec["command"] if word.startswith("--exit-timeout-secs="))
            drain = float(told.partition("=")[2])
        elif "GLIOSERVE_BUS" in container.env():
            drain = RetryPolicy().drain_s
        assert grace >= sleep + drain + 5, (values, container.name)


def test_what_serves_callers_waits_until_they_are_sent_elsewhere() -> None:
    serving = {"gateway", "navigation", "poses"}
    for values, container in everywhere():
        if container.spec["name"] not in serving:
            continue
        before = container.spec["lifecycle"]["preStop"]
        if "sleep" in before:
            assert before["sleep"]["seconds"] >= 5, (values, container.name)
            continue
        assert before["exec"]["command"][2] == "services.navigation.linger", (values, container.name)
        assert SETTLE_S >= 5


def test_a_theatre_pod_stops_only_after_its_sessions_and_what_they_need_after_it() -> None:
    """Both doors wait for the sessions of this pod; stages and Triton are sidecars, which end after them."""
    for values in ("production", "timeslice"):
        pod = {
            c.spec["name"]: c
            for c in containers(objects(values))
            if c.workload["metadata"]["name"].endswith("-theatre")
        }
        port = pod["navigation"].spec["livenessProbe"]["httpGet"]["port"]
        for name in ("navigation", "poses"):
            command = pod[name].spec["lifecycle"]["preStop"]["exec"]["command"]
            assert f"--port={port}" in command
            within = next(float(word.partition("=")[2]) for word in command if word.startswith("--within="))
            drain = NavigationSettings().drain_s
            assert pod[name].pod["terminationGracePeriodSeconds"] >= within + drain + 30
        assert all(pod[name].before and pod[name].stays for name in ("triton", "preprocessing", "fusion-segmentation"))


def test_triton_starts_before_its_callers_in_the_same_pod_and_ends_after_them() -> None:
    for values, container in everywhere():
        if container.spec["name"] == "triton" and any(
            word.endswith("grpc-address=127.0.0.1") for word in container.spec["command"]
        ):
            assert container.before, values
            assert container.stays, values


@pytest.mark.parametrize("values", VALUE_SETS)
def test_shared_memory_has_the_size_of_the_formula_and_is_counted_in_the_limit(values: str) -> None:
    found = objects(values)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    shared, theatre = defaults["triton"]["sharedMemory"], defaults["theatre"]
    for workload in of_kind(found, "Deployment"):
        pod = workload["spec"]["template"]["spec"]
        volume = next((v for v in pod["volumes"] if v["name"] == "shm"), None)
        together = [c for c in containers([workload]) if c.mounts(SHM)]
        assert bool(volume) == bool(together)
        if volume is None:
            continue
        size = mib(volume["emptyDir"]["sizeLimit"])
        assert volume["emptyDir"]["medium"] == "Memory"
        callers = [c for c in together if c.env().get("GLIOSERVE_TRITON_URL")]
        triton = next(c for c in together if c.spec["name"] == "triton")
        cpu = "--model-config-name=cpu" in triton.spec["command"]
        sets = len(callers) * shared["setsPerCaller"] + cpu * 2 * shared["setsPerModel"]
        sessions = theatre["scale"]["sessions"] * (theatre["sessionMiB"] + theatre["posesMiB"]) * (len(together) > 2)
        assert size == math.ceil(sets * shared["tensorSetMiB"] + 16 + sessions)
        for container in together:
            assert mib(container.spec["resources"]["limits"]["memory"]) >= size + 256, container.name
        assert mib(triton.spec["resources"]["requests"]["memory"]) >= size + 256


def test_gpu_modes_ask_for_the_right_thing_and_cpu_for_none() -> None:
    asked: dict[str, set[str]] = {}
    for mode, theatre in (("full", "mig"), ("mig", "full"), ("timeslice", "none"), ("none", "none")):
        found = objects("production", f"gpu.mode={mode}", f"gpu.theatreMode={theatre}")
        for container in containers(found):
            gpu = {name for name in container.spec["resources"]["limits"] if "/" in name}
            if container.spec["name"] != "triton":
                assert not gpu
                continue
            asked[f"{container.workload['metadata']['name'].rpartition('-')[2]} {mode} {theatre}"] = gpu
            assert bool(gpu) == bool(container.pod.get("tolerations"))
            assert bool(gpu) == ("tritonserver@sha256:" in container.spec["image"])
    assert asked == {
        "triton full mig": {"nvidia.com/gpu"},
        "theatre full mig": {"nvidia.com/mig-1g.10gb"},
        "triton mig full": {"nvidia.com/mig-1g.10gb"},
        "theatre mig full": {"nvidia.com/gpu"},
        "triton timeslice none": {"nvidia.com/gpu.shared"},
        "theatre timeslice none": set(),
        "triton none none": set(),
        "theatre none none": set(),
    }


def test_pods_spread_over_hosts_and_the_theatre_goes_first() -> None:
    for workload in of_kind(objects("production"), "Deployment"):
        pod: Object = workload["spec"]["template"]["spec"]
        by_key = {item["topologyKey"]: item["whenUnsatisfiable"] for item in pod["topologySpreadConstraints"]}
        hard = workload["metadata"]["name"].endswith("-gateway")
        assert by_key == {
            "topology.kubernetes.io/zone": "ScheduleAnyway",
            "kubernetes.io/hostname": "DoNotSchedule" if hard else "ScheduleAnyway",
        }
        assert ("priorityClassName" in pod) == workload["metadata"]["name"].endswith("-theatre")
    made = of_kind(objects("production"), "PriorityClass")[0]["metadata"]["name"]
    assert made == "imaging-hospital-glioserve-theatre"  # of the whole cluster: releases elsewhere have their own
    assert [
        w["spec"]["template"]["spec"].get("priorityClassName") for w in of_kind(objects("production"), "Deployment")
    ].count(made) == 1


def test_models_are_checked_before_anything_that_reads_them_starts() -> None:
    digest = "sha256:" + "1" * 64
    for values in VALUE_SETS:
        for container in containers(objects(values, f"models.treeDigest={digest}")):
            if container.mounts("/models") is None or container.spec["name"] == "models":
                continue
            first = container.pod["initContainers"][0]
            assert first["name"] == "models", values
            assert f"--digest={digest}" in first["args"]
            mount = next(m for m in container.spec["volumeMounts"] if m["mountPath"] == "/models")
            assert mount["readOnly"], container.name
