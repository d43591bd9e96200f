"""A real Prometheus for tests and for pictures of load tests; `install_prometheus.sh` fetches it.

    with Prometheus(folder, home) as server:
        rows = server.range(expr, start, end, step)

It scrapes what `endpoints.json` of a home names, as the PodMonitor of the chart does: one target a process.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.processes import stop

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "prometheus"
RULES = ROOT / "helm" / "glioserve" / "files" / "rules.yaml"
START_TIMEOUT_S = 30.0


def promtool() -> str:
    """Path of promtool."""
    return str(FOLDER / "promtool")


def missing() -> str | None:
    """What is missing, or None."""
    return None if (FOLDER / "promtool").exists() and (FOLDER / "prometheus").exists() else f"nothing in {FOLDER.name}"


class Prometheus:
    """Runs from `with` to its end on a free port, with the chart's rules. `interval_s`: how often it scrapes."""

    def __init__(self, folder: Path, interval_s: int = 2) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def targets(self, processes: Mapping[str, str]) -> None:
        """Sets what is scraped: name of the process -> host:port. It may be called again at any time."""
        found = [{"targets": [address], "labels": {"container": name}} for name, address in processes.items()]
        fresh = self._folder / "targets.new"
        fresh.write_text(json.dumps(found))
        fresh.replace(self._folder / "targets.json")

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "targets.json").exists():
            self.targets({})
        self.address = f"127.0.0.1:{_free_port()}"
        config = {
            "global": {"scrape_interval": f"{self._interval_s}s", "evaluation_interval": f"{self._interval_s}s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "glioserve",
                    "file_sd_configs": [
                        {"files": [str(self._folder / "targets.json")], "refresh_interval": f"{self._interval_s}s"}
                    ],
                }
            ],
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(config))
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(FOLDER / "prometheus"),
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self.address}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        stop(self._process)

    def range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Series of an expression: `metric` (labels) and `values` ([time, text] each)."""
        asked = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return self._result("query_range", asked)

    def now(self, expr: str) -> list[dict[str, Any]]:
        """Series of an expression at this moment: `metric` and `value`."""
        return self._result("query", {"query": expr})

    def _result(self, what: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            document = json.load(answer)
        result: list[dict[str, Any]] = document["data"]["result"]
        return result

    def _wait(self) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise RuntimeError((self._folder / "prometheus.log").read_text()[-2000:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
