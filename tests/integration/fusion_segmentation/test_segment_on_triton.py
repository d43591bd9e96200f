"""The segmentation against a real Triton: both transports, both ways to a fine mask, and the stages that read it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.core.contracts.documents import from_document
from services.core.contracts.enums import Completeness, Modality, SegmentStep, Stage, Verdict
from services.core.contracts.errors import Transient
from services.core.contracts.events import ManifestRef, StageRequest
from services.core.contracts.facts import CompareFacts, Decision, SegmentFacts, SubtypeFacts
from services.core.contracts.manifest import Manifest
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.process import Process
from services.core.runtime.settings import SharedSettings
from services.core.runtime.stage import RunPorts, StageHandler, read_manifest, run
from services.core.storage.local import LocalBlobStore
from services.core.telemetry.metrics import Metrics
from services.fusion_segmentation.bootstrap import build
from services.fusion_segmentation.handlers import SegmentHandler
from services.fusion_segmentation.settings import FusionSettings
from services.molecular_subtyping.bootstrap import shipped_calibration
from services.molecular_subtyping.handlers import SubtypeHandler
from services.molecular_subtyping.settings import SubtypeSettings
from services.monitoring.handlers import CompareHandler
from services.monitoring.settings import MonitoringSettings
from tests.servers.triton import TritonServer, triton_server, wait_until
from tests.unit.fusion_segmentation.prepared import Spec, as_role, request, store_prepared, study_ref

pytestmark = pytest.mark.integration

WHOLE_ML = 57.9  # a ball of 24 mm
ENHANCING_ML = 7.24  # a ball of 12 mm


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with triton_server(tmp_path_factory.mktemp("triton")) as running:
        yield running


class Stages:
    """The stages over one blob store, with a client of the real server."""

    def __init__(self, home: Path, server: TritonServer, *, shared_memory: bool = True) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.blobs = LocalBlobStore(home / "blobs")
        self.client = server.client(shared_memory=shared_memory, metrics=self.metrics)
        self.segmentation = SegmentHandler(self.blobs, self.client, FusionSettings())
        self._ports = RunPorts(blobs=self.blobs, clock=SystemClock(), failpoints=Failpoints(home), metrics=self.metrics)

    def run(self, handler: StageHandler, asked: StageRequest) -> ManifestRef:
        outcome = run(handler, asked, self._ports, lambda: None)
        assert outcome.manifest is not None
        return outcome.manifest

    def manifest(self, ref: ManifestRef) -> Manifest:
        return read_manifest(self.blobs, ref)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_study_is_segmented_over_either_transport(tmp_path: Path, server: TritonServer, shared_memory: bool) -> None:
    stages = Stages(tmp_path, server, shared_memory=shared_memory)
    manifest = stages.manifest(stages.run(stages.segmentation, request(store_prepared(stages.blobs, study_ref()))))
    facts = from_document(SegmentFacts, manifest.facts)
    assert (manifest.completeness, manifest.verdict) == (Completeness.COMPLETE, Verdict.TRUSTED)
    assert facts.volumes_ml["WT"] == pytest.approx(WHOLE_ML, rel=0.02)
    assert facts.volumes_ml["ET"] == pytest.approx(ENHANCING_ML, rel=0.04)
    assert {model.name: model.digest for model in manifest.models} == {
        name: stages.client.model_ref(name).digest for name in ("fusion_coarse", "fusion_fine")
    }
    counted = {
        sample.labels["transport"]
        for metric in stages.metrics.triton_seconds.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.value
    }
    assert counted == {"shared_memory" if shared_memory else "grpc"}


def test_two_requests_give_the_masks_of_one(tmp_path: Path, server: TritonServer) -> None:
    stages = Stages(tmp_path, server)
    prepare = store_prepared(stages.blobs, study_ref())
    both = stages.manifest(stages.run(stages.segmentation, request(prepare)))
    coarse = as_role(stages.run(stages.segmentation, request(prepare, step=SegmentStep.COARSE)), "segment")
    fine = stages.manifest(stages.run(stages.segmentation, request(coarse, prepare, step=SegmentStep.FINE)))
    assert fine.outputs == both.outputs
    assert fine.run_id not in {both.run_id, coarse.run_id}


def test_subtyping_and_comparison_read_what_segmentation_wrote(tmp_path: Path, server: TritonServer) -> None:
    stages = Stages(tmp_path, server)
    earlier, current = study_ref("study-0"), study_ref()
    small = Spec(core_mm=8.0, acquired_at="2025-12-01", run_id="prepare-0")
    prior = stages.run(stages.segmentation, request(store_prepared(stages.blobs, earlier, small), study=earlier))
    prepare = store_prepared(stages.blobs, current)
    segment = stages.run(stages.segmentation, request(prepare))
    subtyped = stages.run(
        SubtypeHandler(stages.blobs, shipped_calibration(), SubtypeSettings()),
        request(segment, prepare, stage=Stage.SUBTYPE),
    )
    compared = stages.run(
        CompareHandler(stages.blobs, MonitoringSettings()),
        request(segment, prepare, as_role(prior, "prior"), stage=Stage.COMPARE),
    )
    markers = from_document(SubtypeFacts, stages.manifest(subtyped).facts).markers
    assert {marker.decision for marker in markers} == {Decision.ABSTAINED}
    facts = from_document(CompareFacts, stages.manifest(compared).facts)
    assert (facts.prior_study, facts.interval_days) == ("study-0", 40)
    assert facts.changes[0].region == "ET"
    assert facts.changes[0].change_percent == pytest.approx(100 * (12**3 / 8**3 - 1), rel=0.1)
    assert "above the 40 % volumetric threshold for an increase" in facts.statement


def test_a_study_without_t1c_passes_the_server_too(tmp_path: Path, server: TritonServer) -> None:
    stages = Stages(tmp_path, server)
    prepare = store_prepared(stages.blobs, study_ref(), Spec(slots=(Modality.T2F,)))
    manifest = stages.manifest(stages.run(stages.segmentation, request(prepare)))
    assert manifest.completeness is Completeness.DEGRADED
    assert from_document(SegmentFacts, manifest.facts).volumes_ml["ET"] == 0.0


def test_the_wired_stage_is_ready_once_the_models_compute(tmp_path: Path, server: TritonServer) -> None:
    shared = SharedSettings(home=server.home.root, triton_url=server.launch.grpc_address, models=server.spec.models)
    process = Process(
        service="fusion_segmentation",
        shared=shared,
        home=server.home,
        environ={"GLIOSERVE_FUSION_SEGMENTATION__MAX_CROPS": "2"},
        stop=threading.Event(),
        clock=SystemClock(),
        metrics=Metrics(CollectorRegistry()),
        failpoints=Failpoints(tmp_path),
    )
    blobs = LocalBlobStore(tmp_path / "blobs")
    built = build(process, blobs)
    try:
        wait_until(built.checks["triton"], "the canaries succeed")
        asked = request(store_prepared(blobs, study_ref()))
        result = built.handler.handle(asked, lambda: None)
        assert result.completeness is Completeness.COMPLETE
    finally:
        built.close()


def test_a_killed_server_is_a_transient_error_and_the_next_try_succeeds(tmp_path: Path) -> None:
    with triton_server(tmp_path / "server") as server:
        stages = Stages(tmp_path, server)
        asked = request(store_prepared(stages.blobs, study_ref()))
        server.kill()
        with pytest.raises(Transient):
            stages.run(stages.segmentation, asked)
        server.start()
        wait_until(lambda: _succeeds(stages, asked), "the segmentation succeeds again")
        assert stages.manifest(stages.run(stages.segmentation, asked)).completeness is Completeness.COMPLETE


def _succeeds(stages: Stages, asked: StageRequest) -> bool:
    try:
        stages.run(stages.segmentation, replace(asked))
    except Transient:
        return False
    return True
