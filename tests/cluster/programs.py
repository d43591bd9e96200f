"""Where the programs of the test cluster are, and a process of one of them with its log."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.child import tied_to

ROOT = Path(__file__).parents[2]
TOOLS = Path(__file__).with_name("tools")
HELM_VERSION = "v3.22.0"
_SOURCES = ("go.mod", "go.sum", "build.sh", "trim_keda.py", "controlplane/main.go")
_STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Programs:
    """The folder that `tools/build.sh` makes."""

    folder: Path

    @property
    def controlplane(self) -> Path:
        """etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok, by first argument."""
        return self.folder / "controlplane"

    @property
    def helm(self) -> Path:
        """The Helm of the chart's own tests."""
        return ROOT / ".cache" / "helm" / HELM_VERSION / "helm"

    @property
    def stages(self) -> Path:
        """What kwok does to nodes and pods."""
        return self.folder / "stages.yaml"

    @property
    def keda(self) -> Path:
        """KEDA's own manifests."""
        return self.folder / "keda"

    def missing(self) -> str | None:
        """What is not there, or None."""
        if not (self.folder / "keda-adapter").exists():
            return "the control plane is not built"
        return None if self.helm.exists() else "no helm"


def find_programs() -> Programs:
    """The programs built from the sources as they are now; a change of one of them names another folder."""
    digest = hashlib.sha256(b"".join((TOOLS / name).read_bytes() for name in _SOURCES)).hexdigest()
    return Programs(ROOT / ".cache" / f"cluster-{digest[:12]}")


@dataclass(slots=True)
class Program:
    """One running program. It dies with the test run, however that ends."""

    name: str
    argv: Sequence[str | Path]
    log: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; its output goes to its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.argv],
                env={"PATH": os.environ["PATH"], "HOME": str(self.log.parent), **self.environ},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=tied_to(os.getpid()),  # noqa: PLW1509 - started from the main thread
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        assert self.process is not None
        return self.process.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Asks it to stop."""
        if self.alive():
            assert self.process is not None
            self.process.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = _STOP_S) -> int:
        """Its exit code; SIGKILL when it does not end in time."""
        assert self.process is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]
