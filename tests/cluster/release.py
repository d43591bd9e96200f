"""The chart as an operator installs it: a namespace under the restricted profile, secrets by name, helm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.cluster.api import Api, Json, is_ready, wait
from tests.cluster.programs import ROOT

CHART = ROOT / "helm" / "glioserve"
VALUES = Path(__file__).with_name("values.yaml")
NAMESPACE = "glioserve"
NAME = "glioserve"
_TLS = {"tls.crt": "invented", "tls.key": "invented"}
_SECRETS: dict[str, tuple[str, Mapping[str, str]]] = {
    "glioserve-s3": ("Opaque", {"access-key-id": "invented", "secret-access-key": "invented"}),
    "glioserve-state": ("Opaque", {"url": "postgresql://nobody@db.invalid/glioserve"}),
    "glioserve-vault": ("Opaque", {"pseudonym.key": "invented" * 4}),
    "glioserve-tokens": ("Opaque", {"tokens": "invented"}),
    "glioserve-gateway-tls": ("kubernetes.io/tls", _TLS),
    "glioserve-theatre-tls": ("kubernetes.io/tls", {**_TLS, "ca.crt": "invented"}),
}


@dataclass(frozen=True, slots=True)
class Release:
    """An installed chart."""

    api: Api
    kafka: str

    def install(self) -> str:
        """Makes the namespace and its secrets, installs, waits until every pod is ready."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        self.api.post("/api/v1/namespaces", namespace).raise_for_status()
        for name, (kind, data) in _SECRETS.items():
            secret = {
                "kind": "Secret",
                "apiVersion": "v1",
                "metadata": {"name": name},
                "type": kind,
                "stringData": data,
            }
            self.api.post(f"/api/v1/namespaces/{NAMESPACE}/secrets", secret).raise_for_status()
        said = self._helm("install")
        wait(lambda: not self.unready(), lambda: f"every pod is ready, but {self.unready()}")
        return said

    def unready(self) -> list[str]:
        """What still lacks something: deployments without enough pods, and pods that are not ready with the reason."""
        missing = [
            f"{item['metadata']['name']} has no pods"
            for item in self.api.items(self.path("deployments", "apis/apps/v1"))
            if not item.get("status", {}).get("replicas")
        ]
        return missing + [
            f"{pod['metadata']['name']}: {pod['status'].get('conditions') or pod['status']}"
            for pod in self.pods()
            if not is_ready(pod)
        ]

    def manifest(self) -> str:
        """All objects of the release as YAML."""
        return self.api.helm("get", "manifest", NAME, "--namespace", NAMESPACE)

    def path(self, kind: str, group: str = "api/v1") -> str:
        """The path of a kind of object of this release."""
        return f"/{group}/namespaces/{NAMESPACE}/{kind}"

    def pods(self, component: str | None = None) -> list[Json]:
        """The pods of the release, or of one of its components."""
        return self.api.items(self.path("pods"), labelSelector=selector(component))

    def scaling(self, stage: str) -> bool:
        """Whether KEDA has a usable metric for the stage."""
        scaled = self.api.get(self._scaled(stage))
        conditions = {item["type"]: item["status"] for item in scaled.get("status", {}).get("conditions", ())}
        return conditions.get("Ready") == "True" and self.lag(stage) is not None

    def lag(self, stage: str) -> float | None:
        """The lag of the stage as the autoscaler is told it, over all of its triggers; None while it is not served."""
        status = self.api.get(self._scaled(stage)).get("status", {})
        total = 0.0
        for metric in status.get("externalMetricNames", ()):
            path = self.path(metric, "apis/external.metrics.k8s.io/v1beta1")
            name = f"scaledobject.keda.sh/name={_object(stage)}"
            try:
                total += sum(_quantity(item["value"]) for item in self.api.items(path, labelSelector=name))
            except httpx.HTTPStatusError:
                return None
        return total

    def set_most(self, stage: str, most: int) -> None:
        """The operator's hand on the scaling: the chart is upgraded with another maximum."""
        self._helm("upgrade", "--set", f"stages.{stage}.scale.max={most}")

    def _scaled(self, stage: str) -> str:
        return f"{self.path('scaledobjects', 'apis/keda.sh/v1alpha1')}/{_object(stage)}"

    def _helm(self, command: str, *flags: str) -> str:
        own = ("--values", VALUES, "--set", f"bus.bootstrapServers={{{self.kafka}}}")
        return self.api.helm(command, NAME, CHART, "--namespace", NAMESPACE, *own, *flags)


def _object(component: str) -> str:
    return f"{NAME}-{component.replace('_', '-')}"


def _quantity(text: str) -> float:
    """A Kubernetes quantity as far as metrics use it: thousandths or plain."""
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def selector(component: str | None) -> str:
    """The labels that the chart gives to pods."""
    own = f"app.kubernetes.io/instance={NAME}"
    return f"{own},app.kubernetes.io/component={component}" if component else own
