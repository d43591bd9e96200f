"""Wiring of the subtyping stage: settings, the calibration table that ships with it, handler."""

from __future__ import annotations

import json
from importlib.resources import files

from services.core.runtime.process import Process
from services.core.runtime.settings import load
from services.core.runtime.stage_process import Built
from services.core.storage.port import BlobStore
from services.molecular_subtyping.domain.calibration import Calibration, calibration_from
from services.molecular_subtyping.handlers import SubtypeHandler
from services.molecular_subtyping.settings import SubtypeSettings


def build(process: Process, blobs: BlobStore) -> Built:
    """The stage's handler. Raises SettingsError on unusable settings, ValueError on a damaged calibration table."""
    settings = load(SubtypeSettings, "molecular_subtyping", process.environ)
    return Built(handler=SubtypeHandler(blobs, shipped_calibration(), settings), checks={})


def shipped_calibration() -> Calibration:
    """The table in `calibration.json` beside this module."""
    return calibration_from(json.loads(files(__package__).joinpath("calibration.json").read_text("utf-8")))
