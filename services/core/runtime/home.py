"""The layout of GLIOSERVE_HOME: everything a home writes lies below it, named shared memory apart.

run/        endpoints.json, locks, failpoints          bus/      the embedded log
blobs/      content-addressed objects and manifests     state/    the gateway's database
vault/      keys and identities (mode 0700)             logs/     one JSON log a process
staging/    uploads before acceptance (mode 0700)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - POSIX shared memory on Linux, not a temporary file


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one home. Two homes on one machine never touch each other."""

    root: Path

    @property
    def run(self) -> Path:
        """Locks, endpoints, failpoints."""
        return self.root / "run"

    @property
    def blobs(self) -> Path:
        """The local blob store."""
        return self.root / "blobs"

    @property
    def bus(self) -> Path:
        """The embedded log's database file."""
        return self.root / "bus" / "log.sqlite"

    @property
    def state(self) -> Path:
        """The gateway's database file."""
        return self.root / "state" / "gateway.sqlite"

    @property
    def vault(self) -> Path:
        """Keys and identities; mode 0700."""
        return self.root / "vault"

    @property
    def logs(self) -> Path:
        """One JSON-lines file a process."""
        return self.root / "logs"

    @property
    def staging(self) -> Path:
        """Uploads before acceptance."""
        return self.root / "staging"

    @property
    def theatre_lock(self) -> Path:
        """Held shared by navigation while a series is in flight (rule 7)."""
        return self.run / "theatre.lock"

    @property
    def shm_prefix(self) -> str:
        """Start of every name this home uses under /dev/shm."""
        return f"glioserve-{hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:12]}"

    @property
    def theatre(self) -> Path:
        """The operating room's store, in memory: nothing of a session is durable before its final mask."""
        return SHARED_MEMORY / f"{self.shm_prefix}-theatre"

    @property
    def theatre_poses(self) -> Path:
        """What the pose process maps, in memory: one folder a session."""
        return SHARED_MEMORY / f"{self.shm_prefix}-poses"

    def prepare(self) -> None:
        """Creates the folders; what may hold identity (vault, uploads) is for the owner only."""
        for folder in (self.run, self.blobs, self.bus.parent, self.state.parent, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        for private in (self.vault, self.staging):
            private.mkdir(parents=True, exist_ok=True)
            private.chmod(0o700)


def read_endpoints(home: Home) -> dict[str, dict[str, str]]:
    """Where each running service of this home listens: service -> {"http" | "grpc" | "metrics" | ...: address}."""
    try:
        document: dict[str, dict[str, str]] = json.loads((home.run / "endpoints.json").read_text())
    except FileNotFoundError:
        return {}
    return document


def publish_endpoints(home: Home, service: str, addresses: Mapping[str, str] | None) -> None:
    """Writes this service's addresses into endpoints.json, or removes it (None). Atomic among processes."""
    home.run.mkdir(parents=True, exist_ok=True)
    with _locked(home.run / "endpoints.lock"):
        document = read_endpoints(home)
        document.pop(service, None)
        if addresses is not None:
            document[service] = dict(addresses)
        fresh = home.run / "endpoints.json.new"
        fresh.write_text(json.dumps(document, indent=2, sort_keys=True))
        fresh.replace(home.run / "endpoints.json")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
