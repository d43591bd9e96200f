"""The Kubernetes API as a test sees it: JSON over HTTPS, and kubectl where that is shorter."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.cluster.authority import Authority, KeyPair
from tests.cluster.programs import Programs

Json = dict[str, Any]
T = TypeVar("T")
PATIENCE_S = 240.0  # a machine with other work
POLL_S = 0.25


class Api:
    """One user's view of the API server."""

    def __init__(self, programs: Programs, address: str, authority: Authority, user: KeyPair) -> None:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(user.certificate, user.key)
        self._http = httpx.Client(base_url=address, verify=context, timeout=30.0, trust_env=False)
        self._programs = programs
        self.kubeconfig = authority.kubeconfig(address, user)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def answers(self, path: str) -> bool:
        """Whether a path answers with success; a refused connection is a no."""
        try:
            return self._http.get(path).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: str) -> Json:
        """One object or list. Raises httpx.HTTPStatusError."""
        answer = self._http.get(path, params=query)
        answer.raise_for_status()
        return dict(answer.json())

    def items(self, path: str, **query: str) -> list[Json]:
        """The objects of a list."""
        return list(self.get(path, **query)["items"])

    def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """What the server says to a new object."""
        return self._http.post(path, json=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Json:
        """A merge patch. Raises httpx.HTTPStatusError."""
        answer = self._http.patch(path, json=body, headers={"Content-Type": "application/merge-patch+json"})
        answer.raise_for_status()
        return dict(answer.json())

    def kubectl(self, *words: str | Path) -> str:
        """Runs kubectl as this user; gives what it prints. Raises RuntimeError."""
        return self._ran([self._programs.controlplane, "kubectl", *words])

    def helm(self, *words: str | Path) -> str:
        """Runs helm as this user; gives what it prints. Raises RuntimeError."""
        return self._ran([self._programs.helm, *words])

    def _ran(self, argv: list[str | Path]) -> str:
        home = self.kubeconfig.parent
        done = subprocess.run(
            [str(word) for word in argv],
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stdout}{done.stderr}")
        return done.stdout


def wait(condition: Callable[[], T | None], what: str | Callable[[], str], within_s: float = PATIENCE_S) -> T:
    """Asks until the answer is true and gives it. Fails with `what` when it does not come."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        late = time.monotonic() > deadline
        assert not late, f"not within {within_s:.0f} s: {what if isinstance(what, str) else what()}"
        time.sleep(POLL_S)  # between questions; the API server shares the machine
    return value


def is_ready(pod: Json) -> bool:
    """Whether a pod is ready and stays."""
    conditions: list[dict[str, Any]] = pod["status"].get("conditions", [])
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]
