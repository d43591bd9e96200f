"""Wiring of the comparison stage: settings and handler."""

from __future__ import annotations

from services.core.runtime.process import Process
from services.core.runtime.settings import load
from services.core.runtime.stage_process import Built
from services.core.storage.port import BlobStore
from services.monitoring.handlers import CompareHandler
from services.monitoring.settings import MonitoringSettings


def build(process: Process, blobs: BlobStore) -> Built:
    """The stage's handler. Raises SettingsError on unusable settings."""
    settings = load(MonitoringSettings, "monitoring", process.environ)
    return Built(handler=CompareHandler(blobs, settings), checks={})
