"""The canary beside a Triton pod: `python -m services.fusion_segmentation.sentinel`.

A server calls itself ready when its models are loaded, even when none of them computes any more. This process infers
through the server of its pod and is ready only while that works; the pod is no readier than its least ready container.
"""

from __future__ import annotations

import sys

from pydantic import Field

from services.core.runtime.health import HealthServer
from services.core.runtime.home import publish_endpoints
from services.core.runtime.process import Process, run_process
from services.core.runtime.settings import ServiceSettings, SettingsError, load
from services.core.telemetry.tracing import trace_headers
from services.core.triton.canary import CanaryProbe
from services.core.triton.catalog import ModelCatalog
from services.core.triton.client import ClientSpec, TritonClient
from services.fusion_segmentation.handlers import COARSE_MODEL, FINE_MODEL


class SentinelSettings(ServiceSettings):
    """GLIOSERVE_SENTINEL__*."""

    health_host: str = Field(default="127.0.0.1", description="Health and metrics: plain HTTP, no study data.")
    health_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")


def run(process: Process) -> None:
    """Watches until the process is asked to stop. Raises SettingsError without the address of a Triton."""
    settings = load(SentinelSettings, "sentinel", process.environ)
    if process.shared.triton_url is None:
        raise SettingsError("GLIOSERVE_TRITON_URL: the server to watch")
    spec = ClientSpec(
        address=process.shared.triton_url,
        shm_prefix=process.home.shm_prefix,
        clock=process.clock,
        trace_headers=trace_headers,
    )
    client = TritonClient(spec, ModelCatalog.load(process.shared.models), process.metrics)
    canary = CanaryProbe(client, (COARSE_MODEL, FINE_MODEL), process.metrics, process.clock)
    canary.start()
    checks = {"triton": canary.fresh}
    try:
        with HealthServer(process.metrics.registry, checks, settings.health_host, settings.health_port) as probes:
            publish_endpoints(process.home, process.service, {"health": probes.address})
            process.stop.wait()
            publish_endpoints(process.home, process.service, None)
    finally:
        canary.stop()
        client.close()


if __name__ == "__main__":
    sys.exit(run_process("sentinel", run))
