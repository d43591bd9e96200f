"""Rule 7: every stage of the ward can be interrupted between its named steps; none runs into the next unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from services.core.contracts.enums import STRUCTURAL, BlobClass, SegmentStep, Stage
from services.core.contracts.events import BlobRef
from services.core.imaging.volume import Affine, Array, Volume
from services.core.storage.local import LocalBlobStore
from services.fusion_segmentation.handlers import SegmentHandler
from services.fusion_segmentation.settings import FusionSettings
from services.molecular_subtyping.bootstrap import shipped_calibration
from services.molecular_subtyping.handlers import SubtypeHandler
from services.molecular_subtyping.settings import SubtypeSettings
from services.monitoring.handlers import CompareHandler
from services.monitoring.settings import MonitoringSettings
from services.phantom import SMALL, generate, write_nifti
from services.preprocessing.adapters.bias import N4
from services.preprocessing.adapters.registration import ElastixRegistration
from services.preprocessing.bootstrap import tools
from services.preprocessing.handlers import PrepareHandler
from services.preprocessing.settings import PrepareSettings
from services.reporting.bootstrap import handler as report_handler
from services.reporting.settings import ReportingSettings
from tests.builders import STUDY, Shelf, report_request
from tests.integration.preprocessing.studies import Site
from tests.unit.fusion_segmentation.prepared import IntensityNetwork, request, store_prepared, study_ref

pytestmark = pytest.mark.integration
CHECK = "checkpoint"


@dataclass
class Watched:
    """What a stage does, in order: the names of its steps, and where it may be interrupted."""

    steps: list[str] = field(default_factory=list)

    def checkpoint(self) -> None:
        self.steps.append(CHECK)

    def assert_interruptible(self, *expected: str) -> None:
        """Every expected step was seen, and no step follows another one without a checkpoint between them."""
        assert set(expected) <= set(self.steps)
        unasked = [(a, b) for a, b in zip(self.steps, self.steps[1:], strict=False) if CHECK not in (a, b)]
        assert not unasked


class WatchedStore(LocalBlobStore):
    def __init__(self, root: Path, watched: Watched) -> None:
        super().__init__(root)
        self._watched = watched

    def put(self, data: bytes, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        self._watched.steps.append("put")
        return super().put(data, media_type, blob_class)


class WatchedRegistration(ElastixRegistration):
    def __init__(self, scratch: Path, watched: Watched) -> None:
        super().__init__(1, scratch)
        self._watched = watched

    def align(self, fixed: Volume, moving: Volume, start: Affine, pulse: Callable[[], None]) -> Affine:
        self._watched.steps.append("align")
        return super().align(fixed, moving, start, pulse)

    def _step(self, *images: Any) -> Affine:
        self._watched.steps.append("elastix")
        return super()._step(*images)


class WatchedN4(N4):
    def __init__(self, watched: Watched) -> None:
        super().__init__(8.0, [10], 1)
        self._watched = watched

    def correct(self, volume: Volume, brain: Volume) -> Volume | None:
        self._watched.steps.append("N4")
        return super().correct(volume, brain)


class WatchedNetwork(IntensityNetwork):
    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched

    def infer(self, model: str, *rest: Any, **named: Any) -> Mapping[str, Array]:
        self._watched.steps.append(model)
        return super().infer(model, *rest, **named)


def test_preparation(tmp_path: Path) -> None:
    write_nifti(generate(71, replace(SMALL, misalignment_mm=8.0)), tmp_path / "study")
    site, watched = Site(tmp_path / "blobs"), Watched()
    asked = site.nifti({slot: tmp_path / "study" / f"{slot}.nii.gz" for slot in STRUCTURAL})
    settings = PrepareSettings()
    store = WatchedStore(tmp_path / "blobs", watched)
    ports = replace(
        tools(store, settings, tmp_path / "scratch"),
        registration=WatchedRegistration(tmp_path / "scratch", watched),
        bias=WatchedN4(watched),
    )
    PrepareHandler(store, ports, settings).handle(asked, watched.checkpoint)
    watched.assert_interruptible("align", "elastix", "N4", "put")
    assert watched.steps.count("elastix") == 6


@pytest.mark.parametrize("step", [SegmentStep.COARSE, SegmentStep.BOTH])
def test_segmentation(tmp_path: Path, step: SegmentStep) -> None:
    watched = Watched()
    prepare = store_prepared(LocalBlobStore(tmp_path), study_ref())
    stage = SegmentHandler(WatchedStore(tmp_path, watched), WatchedNetwork(watched), FusionSettings())
    stage.handle(request(prepare, step=step), watched.checkpoint)
    fine = ("fusion_fine",) if step is SegmentStep.BOTH else ()
    watched.assert_interruptible("fusion_coarse", *fine, "put")


def test_subtyping_and_comparison(tmp_path: Path) -> None:
    shelf = Shelf(blobs=LocalBlobStore(tmp_path))
    watched = Watched()
    segment, prepare = shelf.segment(), shelf.prepare()
    subtype = SubtypeHandler(shelf.blobs, shipped_calibration(), SubtypeSettings())
    subtype.handle(request(segment, prepare, stage=Stage.SUBTYPE), watched.checkpoint)
    compare = CompareHandler(shelf.blobs, MonitoringSettings())
    prior = replace(segment, role="prior")
    compare.handle(request(segment, prepare, prior, study=STUDY, stage=Stage.COMPARE), watched.checkpoint)
    assert len(watched.steps) >= 3


def test_reporting(tmp_path: Path) -> None:
    shelf, watched = Shelf(blobs=LocalBlobStore(tmp_path)), Watched()
    asked = report_request([shelf.intake(), shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()])
    report_handler(ReportingSettings(), WatchedStore(tmp_path, watched)).handle(asked, watched.checkpoint)
    watched.assert_interruptible("put")
    assert watched.steps.count("put") >= 5
