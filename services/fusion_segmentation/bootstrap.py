"""Wiring of the segmentation stage: settings, Triton client with its canaries, handler."""

from __future__ import annotations

from contextlib import ExitStack

from services.core.runtime.home import read_endpoints
from services.core.runtime.process import Process
from services.core.runtime.settings import SettingsError, load
from services.core.runtime.stage_process import THEATRE, Built, DoorSettings
from services.core.storage.port import BlobStore
from services.core.telemetry.tracing import trace_headers
from services.core.triton.canary import CanaryProbe
from services.core.triton.catalog import ModelCatalog
from services.core.triton.client import ClientSpec, TritonClient
from services.fusion_segmentation.handlers import COARSE_MODEL, FINE_MODEL, SegmentHandler
from services.fusion_segmentation.settings import FusionSettings


def build(process: Process, blobs: BlobStore) -> Built:
    """The stage's handler. Raises SettingsError (settings, no Triton) or Permanent (model repository)."""
    settings = load(FusionSettings, "fusion_segmentation", process.environ)
    if load(DoorSettings, "stage", process.environ).lane == THEATRE:
        settings = settings.model_copy(update={"native_outputs": False})
    spec = ClientSpec(
        address=_triton_address(process),
        shm_prefix=process.home.shm_prefix,
        clock=process.clock,
        trace_headers=trace_headers,
    )
    with ExitStack() as stack:
        client = TritonClient(spec, ModelCatalog.load(process.shared.models), process.metrics)
        stack.callback(client.close)
        canary = CanaryProbe(client, (COARSE_MODEL, FINE_MODEL), process.metrics, process.clock)
        canary.start()
        stack.callback(canary.stop)
        handler = SegmentHandler(blobs, client, settings)
        return Built(handler=handler, checks={"triton": canary.fresh}, close=stack.pop_all().close)


def _triton_address(process: Process) -> str:
    """The address that was set, else that of the Triton which runs in the same home."""
    address = process.shared.triton_url or read_endpoints(process.home).get("triton", {}).get("grpc")
    if address is None:
        raise SettingsError("GLIOSERVE_TRITON_URL is not set and no Triton runs in this home")
    return address
