"""The canary beside a Triton pod: ready while its server computes, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.core.runtime.home import Home, read_endpoints
from services.core.runtime.process import EXIT_BAD_SETTINGS
from tests.servers.triton import TritonServer, triton_server, wait_until

pytestmark = pytest.mark.integration
COMMAND = [sys.executable, "-m", "services.fusion_segmentation.sentinel"]


@contextmanager
def sentinel(server: TritonServer, folder: Path) -> Iterator[Home]:
    names = {
        "GLIOSERVE_HOME": str(folder),
        "GLIOSERVE_TRITON_URL": server.launch.grpc_address,
        "GLIOSERVE_MODELS": str(server.spec.models),
    }
    process = subprocess.Popen(COMMAND, env={**os.environ, **names})
    try:
        yield Home(folder)
    finally:
        process.terminate()
        assert process.wait(20) == 0


def ready(home: Home) -> bool:
    address = read_endpoints(home).get("sentinel", {}).get("health")
    if address is None:
        return False
    try:
        with urllib.request.urlopen(f"http://{address}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def test_it_is_ready_while_its_server_computes_and_not_when_that_is_killed(tmp_path: Path) -> None:
    with triton_server(tmp_path / "triton") as server, sentinel(server, tmp_path / "home") as home:
        wait_until(lambda: ready(home), "the sentinel has proof that the models compute")
        server.kill()
        wait_until(lambda: not ready(home), "the sentinel sees that nobody computes")


def test_without_a_server_to_watch_it_does_not_start(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "GLIOSERVE_TRITON_URL"}
    ended = subprocess.run(
        COMMAND,
        env={**environ, "GLIOSERVE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == EXIT_BAD_SETTINGS
    assert "GLIOSERVE_TRITON_URL" in ended.stderr
