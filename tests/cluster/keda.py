"""KEDA in the test cluster: its own manifests and roles, its operator and metrics adapter as processes.

It is trimmed: only the scalers that the chart uses are compiled in (tools/trim_keda.py).
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from tests.cluster.api import wait
from tests.cluster.authority import KeyPair
from tests.cluster.plane import Plane
from tests.servers.processes import free_ports

NAMESPACE = "keda"
_USER = f"system:serviceaccount:{NAMESPACE}:keda-operator"
_METRICS = "/apis/external.metrics.k8s.io/v1beta1"


def define(plane: Plane) -> None:
    """Applies KEDA's kinds, roles and account."""
    api, manifests = plane.admin, plane.programs.keda
    api.kubectl("apply", "--server-side", "-f", manifests / "general" / "namespace.yaml")
    api.kubectl("apply", "--server-side", "-k", manifests / "crd")
    api.kubectl("apply", "--server-side", "-f", manifests / "service_account" / "service_account.yaml",
                "-f", manifests / "metrics-server" / "role.yaml",
                "-f", manifests / "metrics-server" / "role_binding.yaml")  # fmt: skip
    api.kubectl("apply", "--server-side", "-k", manifests / "rbac")


def start(plane: Plane) -> None:
    """Starts KEDA's operator and adapter, and waits until the API server serves their metrics."""
    user = plane.authority.client(_USER, f"system:serviceaccounts:{NAMESPACE}")
    kubeconfig = plane.authority.kubeconfig(plane.address, user)
    certificates = _certificates(plane)
    metrics, health, secure, plain = free_ports(4)
    environ = {"KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": NAMESPACE, "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
               "WATCH_NAMESPACE": ""}  # fmt: skip
    plane.add(
        "keda-operator", plane.programs.folder / "keda-operator",
        f"--metrics-service-bind-address=127.0.0.1:{metrics}", f"--health-probe-bind-address=127.0.0.1:{health}",
        "--enable-prometheus-metrics=false", f"--cert-dir={certificates}", "--zap-encoder=console",
        **environ,
    )  # fmt: skip
    plane.add(
        "keda-adapter", plane.programs.folder / "keda-adapter",
        f"--secure-port={secure}", "--bind-address=127.0.0.1", f"--port={plain}",
        f"--metrics-service-address=localhost:{metrics}", f"--cert-dir={certificates}",
        f"--client-ca-file={certificates / 'ca.crt'}", f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}", f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}", f"--lister-kubeconfig={kubeconfig}",
        **environ,
    )  # fmt: skip
    _register(plane, secure)
    wait(lambda: plane.whole() and plane.admin.answers(_METRICS), "KEDA's metrics are served")


def _certificates(plane: Plane) -> Path:
    folder = plane.folder / "keda-certs"
    folder.mkdir()
    server = KeyPair(plane.folder / "pki" / "server.crt", plane.folder / "pki" / "server.key")
    for source, name in (
        (plane.authority.certificate, "ca.crt"),
        (server.certificate, "tls.crt"),
        (server.key, "tls.key"),
    ):
        shutil.copyfile(source, folder / name)
    return folder


def _register(plane: Plane, port: int) -> None:
    """The aggregation layer finds the adapter by a service that names loopback."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "keda-metrics-apiserver", "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    plane.admin.post(f"/api/v1/namespaces/{NAMESPACE}/services", service).raise_for_status()
    bundle = base64.b64encode(plane.authority.certificate.read_bytes()).decode()
    registration = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "service": {"name": "keda-metrics-apiserver", "namespace": NAMESPACE, "port": port},
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": bundle,
        },
    }
    plane.admin.post("/apis/apiregistration.k8s.io/v1/apiservices", registration).raise_for_status()
