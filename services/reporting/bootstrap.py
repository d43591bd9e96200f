"""Wiring of the report stage."""

from __future__ import annotations

from services.core.runtime.process import Process
from services.core.runtime.settings import affects_result, load
from services.core.runtime.stage_process import Built
from services.core.storage.port import BlobStore
from services.reporting.adapters.contact_sheet import contact_sheet
from services.reporting.adapters.pdf.render import ReportlabRenderer
from services.reporting.adapters.segmentation_on_demand import SegmentationOnDemand
from services.reporting.handlers import ReportHandler, ReportPorts
from services.reporting.settings import ReportingSettings


def build(process: Process, blobs: BlobStore) -> Built:
    """The stage's handler. Raises SettingsError on an unknown or invalid setting."""
    return Built(handler=handler(load(ReportingSettings, "reporting", process.environ), blobs), checks={})


def handler(settings: ReportingSettings, blobs: BlobStore) -> ReportHandler:
    """The handler over the given blobs."""
    digest = affects_result(settings)
    writer = SegmentationOnDemand(
        settings_hash=digest, writer=settings.writer, series_number=settings.segmentation_series_number
    )
    ports = ReportPorts(blobs=blobs, segmentation=writer, renderer=ReportlabRenderer(), sheet=contact_sheet)
    return ReportHandler(ports, settings_hash=digest, with_images=settings.key_images)
