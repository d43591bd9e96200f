"""The chart as Helm renders it: value sets, objects, containers. Without Helm the tests are skipped by name."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.servers.require import require

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "glioserve"
HELM = ROOT / ".cache" / "helm" / "v3.22.0" / "helm"
VALUE_SETS = tuple(sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml")))
OPERATORS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
RELEASE = "hospital"
NAMESPACE = "imaging"
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Container:
    """One container with the workload that it belongs to. `before`: it starts before the others."""

    workload: Object
    spec: Object
    before: bool

    @property
    def name(self) -> str:
        """Component and container, for messages."""
        return f"{self.workload['metadata']['name']}/{self.spec['name']}"

    @property
    def stays(self) -> bool:
        """Whether it runs as long as its pod does."""
        return not self.before or self.spec.get("restartPolicy") == "Always"

    @property
    def pod(self) -> Object:
        """The specification of its pod."""
        pod: Object = self.workload["spec"]["template"]["spec"]
        return pod

    def env(self) -> dict[str, str]:
        """Names and given values of its environment."""
        return {entry["name"]: entry.get("value", "") for entry in self.spec.get("env", [])}

    def mounts(self, path: str) -> str | None:
        """The volume at a path, if one is there."""
        return next((m["name"] for m in self.spec["volumeMounts"] if m["mountPath"] == path), None)


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Helm; skips where there is none."""
    require("helm", None if HELM.exists() else "no Helm in .cache")
    return subprocess.run([HELM, *arguments], cwd=CHART, capture_output=True, text=True, check=False, timeout=120)


def template(*, values: str | None, sets: Sequence[str] = (), apis: Sequence[str] = OPERATORS) -> str | None:
    """The rendered text, or None; then `refusal` has the reason."""
    return _rendered(values, tuple(sets), tuple(apis))[0]


def refusal(*, values: str | None, sets: Sequence[str] = ()) -> str:
    """What Helm says against these values. AssertionError when it takes them."""
    text, reason = _rendered(values, tuple(sets), OPERATORS)
    assert text is None, "the values were accepted"
    return reason


def objects(values: str, *sets: str, apis: Sequence[str] = OPERATORS) -> list[Object]:
    """All objects of a value set of ci/. AssertionError with Helm's words when it does not render."""
    text, reason = _rendered(values, tuple(sets), tuple(apis))
    assert text is not None, reason
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(found: Sequence[Object], kind: str) -> list[Object]:
    """The objects of one kind."""
    return [item for item in found if item["kind"] == kind]


def containers(found: Sequence[Object]) -> Iterator[Container]:
    """Every container of every workload."""
    for workload in of_kind(found, "Deployment"):
        pod = workload["spec"]["template"]["spec"]
        for spec in pod.get("initContainers", []):
            yield Container(workload, spec, before=True)
        for spec in pod["containers"]:
            yield Container(workload, spec, before=False)


def component(item: Object) -> str:
    """The component that an object or the pods of a workload belong to."""
    return str(item["metadata"]["labels"]["app.kubernetes.io/component"])


def selects(selector: Object, labels: Object) -> bool:
    """Whether a label selector (matchLabels) takes these labels."""
    return all(labels.get(name) == value for name, value in selector.items())


@cache
def _rendered(values: str | None, sets: tuple[str, ...], apis: tuple[str, ...]) -> tuple[str | None, str]:
    given = ("-f", f"ci/{values}-values.yaml") if values else ()
    answer = helm(
        *("template", RELEASE, ".", "--namespace", NAMESPACE, "--kube-version", "1.36.0", *given),
        *(word for item in sets for word in ("--set", item)),
        *(word for api in apis for word in ("--api-versions", api)),
    )
    return (answer.stdout if answer.returncode == 0 else None), answer.stderr
