"""A real Prometheus reads a real health port and a real Triton, and the chart's rules work on what it gets."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from services.core.runtime.health import HealthServer
from services.core.telemetry.metrics import Metrics
from tests.servers.prometheus import Prometheus, missing
from tests.servers.require import require
from tests.servers.triton import TritonServer, triton_server, wait_until
from tests.unit.telemetry.test_observability import TRITON

pytestmark = pytest.mark.integration
GROUP = "glioserve.segment"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    require("prometheus", missing())
    with Prometheus(tmp_path_factory.mktemp("prometheus"), interval_s=1) as running:
        yield running


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with triton_server(tmp_path_factory.mktemp("triton")) as running:
        yield running


def test_what_a_process_shows_becomes_an_alert(server: Prometheus) -> None:
    metrics = Metrics(CollectorRegistry())
    firing = f'ALERTS{{alertname="GlioServeDeadLetterBrake",alertstate="firing",group="{GROUP}"}}'
    with HealthServer(metrics.registry, {}, "127.0.0.1", 0) as health:
        server.targets({"fusion_segmentation": health.address})
        wait_until(lambda: bool(server.now('up{container="fusion_segmentation"} == 1')), "the process is read", 60)
        wait_until(lambda: bool(server.now("instance:glioserve_dead_letters:total == 0")), "none so far", 60)
        assert not server.now(firing)
        metrics.brake.labels(GROUP).set(1)
        metrics.dead_letters.labels("glioserve.study.segment.stat.v1.dead", "UNEXPECTED").inc()
        wait_until(lambda: bool(server.now(firing)), "the brake's alert", 60)
        seen = 'ALERTS{alertname="GlioServeDeadLetters",alertstate="firing"}'
        wait_until(lambda: bool(server.now(seen)), "the very first dead letter's alert", 60)


def shown_by(address: str) -> set[str]:
    """Names on a metrics page; none while its port is still closed: Triton opens it after the others."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return set()
    return {line.split("{")[0] for line in lines}


def test_triton_shows_what_rules_and_dashboards_read_of_it(triton: TritonServer) -> None:
    read = {name for name in TRITON if not name.startswith("nv_gpu_")}
    wait_until(lambda: read <= shown_by(triton.launch.metrics_address), f"Triton shows {sorted(read)}", 30)
