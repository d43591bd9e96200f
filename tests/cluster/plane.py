"""A Kubernetes control plane without containers: real etcd, API server, controllers and scheduler on loopback.

kwok stands in for the kubelets: it says that a bound pod runs and is ready, and lets a deleted pod go. No image is
pulled, no probe is asked, no packet travels between pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import Api, wait
from tests.cluster.authority import Authority
from tests.cluster.programs import Program, Programs
from tests.servers.processes import free_ports

NODES = ("node-1", "node-2", "node-3")
_ROOM = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "500Gi", "pods": "110"}
_NOWHERE = "192.0.2.1"  # RFC 5737: told to nobody, since no endpoints are written
_SYNC = ("--horizontal-pod-autoscaler-sync-period=2s", "--horizontal-pod-autoscaler-downscale-stabilization=10s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A running control plane: what further programs of the cluster need."""

    folder: Path
    programs: Programs
    authority: Authority
    address: str
    admin: Api
    running: list[Program]

    def add(self, name: str, *argv: str | Path, **environ: str) -> Program:
        """Starts one more program; it is stopped with the others."""
        program = Program(name, argv, self.folder / f"{name}.log", environ)
        program.start()
        self.running.append(program)
        return program

    def whole(self) -> bool:
        """True; fails with the log of a program that has ended."""
        for program in self.running:
            assert program.alive(), f"{program.name} ended:\n{program.said()}"
        return True


@contextmanager
def control_plane(folder: Path, programs: Programs) -> Iterator[Plane]:
    """Starts everything with three nodes, stops it in reverse order."""
    folder.mkdir(parents=True)
    authority = Authority(folder / "pki")
    port, etcd, peers, kwok = free_ports(4)
    address = f"https://127.0.0.1:{port}"
    admin = Api(programs, address, authority, authority.client("admin", "system:masters"))
    plane = Plane(folder=folder, programs=programs, authority=authority, address=address, admin=admin, running=[])
    try:
        _start_etcd(plane, etcd, peers)
        _start_apiserver(plane, port, etcd)
        wait(lambda: plane.whole() and admin.answers("/readyz"), "the API server is ready")
        _start_controllers(plane)
        _start_nodes(plane, kwok)
        wait(lambda: plane.whole() and _ready_nodes(admin) == len(NODES), "the nodes are ready")
        yield plane
    finally:
        admin.close()
        for program in reversed(plane.running):
            program.terminate()
        for program in reversed(plane.running):
            program.wait()


def _start_etcd(plane: Plane, port: int, peers: int) -> None:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    plane.add(
        "etcd", plane.programs.controlplane, "etcd",
        f"--data-dir={plane.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=error",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
    )  # fmt: skip


def _start_apiserver(plane: Plane, port: int, etcd: int) -> None:
    authority = plane.authority
    server, proxy, accounts = authority.server(), authority.client("front-proxy"), authority.key("accounts")
    plane.add(
        "apiserver", plane.programs.controlplane, "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1", f"--secure-port={port}", f"--advertise-address={_NOWHERE}",
        "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16",
        f"--tls-cert-file={server.certificate}", f"--tls-private-key-file={server.key}",
        f"--client-ca-file={authority.certificate}", "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts}", f"--service-account-signing-key-file={accounts}",
        f"--requestheader-client-ca-file={authority.certificate}", "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={proxy.certificate}", f"--proxy-client-key-file={proxy.key}",
    )  # fmt: skip


def _start_controllers(plane: Plane) -> None:
    authority, program = plane.authority, plane.programs.controlplane
    for name, flags in (
        (
            "kube-controller-manager",
            (
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={plane.folder / 'pki' / 'accounts.key'}",
                f"--root-ca-file={authority.certificate}",
                *_SYNC,
            ),
        ),
        ("kube-scheduler", ()),
    ):
        user = authority.client(f"system:{name}")
        own = f"--kubeconfig={authority.kubeconfig(plane.address, user)}"
        plane.add(name, program, name, own, "--leader-elect=false", "--secure-port=0", *flags)


def _start_nodes(plane: Plane, port: int) -> None:
    plane.add(
        "kwok", plane.programs.controlplane, "kwok",
        f"--kubeconfig={plane.admin.kubeconfig}", f"--config={plane.programs.stages}", "--manage-all-nodes=true",
        "--node-ip=127.0.0.1", "--node-lease-duration-seconds=40", f"--server-address=127.0.0.1:{port}",
    )  # fmt: skip
    for name in NODES:
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": name, "kubernetes.io/os": "linux"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": {"capacity": _ROOM, "allocatable": _ROOM},
        }
        plane.admin.post("/api/v1/nodes", node).raise_for_status()


def _ready_nodes(api: Api) -> int:
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in api.items("/api/v1/nodes")
        for condition in node["status"].get("conditions", ())
    )
