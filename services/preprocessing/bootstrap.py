"""Wiring of the preparation: settings, elastix, N4, the files of the intake, handler."""

from __future__ import annotations

from pathlib import Path

from services.core.runtime.process import Process
from services.core.runtime.settings import load
from services.core.runtime.stage_process import THEATRE, Built, DoorSettings
from services.core.storage.port import BlobStore
from services.preprocessing.adapters.bias import N4
from services.preprocessing.adapters.intake import FileIntake
from services.preprocessing.adapters.registration import ElastixRegistration
from services.preprocessing.handlers import PrepareHandler, Tools
from services.preprocessing.settings import PrepareSettings


def build(process: Process, blobs: BlobStore) -> Built:
    """The stage's handler. Raises SettingsError on unusable settings."""
    settings = load(PrepareSettings, "preprocessing", process.environ)
    if load(DoorSettings, "stage", process.environ).lane == THEATRE:
        settings = settings.model_copy(update={"n4": False})  # it takes longer than a surgeon waits
    return Built(
        handler=PrepareHandler(blobs, tools(blobs, settings, process.home.run / "preprocessing"), settings), checks={}
    )


def tools(blobs: BlobStore, settings: PrepareSettings, scratch: Path) -> Tools:
    """The real adapters behind the handler's ports. `scratch`: a folder for the registration's own small files."""
    iterations = [int(count) for count in settings.n4_iterations.split(",")]
    registration = ElastixRegistration(settings.threads, scratch)
    return Tools(
        intake=FileIntake(blobs),
        registration=registration,
        quick=registration,
        bias=N4(settings.n4_grid_mm, iterations, settings.threads) if settings.n4 else None,
    )
