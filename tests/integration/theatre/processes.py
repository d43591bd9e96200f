"""The theatre's two stage processes over a real Triton, with one session's store: what navigation sees of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from glioserve.stage.v1 import stage_service_pb2, stage_service_pb2_grpc

from services.cli.readiness import unready
from services.core.contracts.documents import to_document
from services.core.contracts.enums import BlobClass, Lane, Modality, SegmentStep, Stage
from services.core.contracts.events import ManifestRef, StageOutcome, StageRequest, StudyRef, request_id_for
from services.core.contracts.facts import IntakeFacts, IntakeSeries, Source
from services.core.contracts.ids import RunId, derived_uuid
from services.core.contracts.manifest import Manifest
from services.core.contracts.wire import outcome_from_proto, request_to_proto
from services.core.runtime.clock import SystemClock
from services.core.runtime.home import Home, read_endpoints
from services.core.runtime.stage import read_manifest, store_manifest
from services.core.runtime.stage_doors import SESSION_METADATA
from services.core.storage.bounded import BoundedBlobStore, Budget, remove_bounded_store
from services.core.storage.port import BlobStore
from tests.servers.triton import TritonServer, triton_server, wait_until

SESSION = "operation-1"
NAMES = {Stage.PREPARE: "theatre_preprocessing", Stage.SEGMENT: "theatre_fusion_segmentation"}
MODULES = ("preprocessing", "fusion_segmentation")


@dataclass(frozen=True)
class Theatre:
    """Running processes, Triton and the store of the session."""

    home: Home
    triton: TritonServer
    blobs: BoundedBlobStore
    study: StudyRef

    def intake(self, slot: Modality, file: Path, *, changed: bool = False) -> ManifestRef:
        """A NIfTI series as navigation stores it."""
        series = (IntakeSeries(series=f"theatre-{slot}", modality=slot, outputs=(f"nifti/{slot}",)),)
        facts = IntakeFacts(
            source=Source.NIFTI, study_uid=None, acquired_at=None, series=series, anatomy_changed=changed
        )
        with self.blobs.within(SESSION):
            ref = self.blobs.put_file(file, "application/vnd.nifti", BlobClass.IDENTIFIED)
            manifest = Manifest(
                run_id=RunId(derived_uuid("intake", to_document(facts), ref.digest)),
                stage="intake",
                study=self.study,
                lane=Lane.THEATRE,
                settings_hash="",
                outputs={f"nifti/{slot}": ref},
                facts=to_document(facts),
            )
            return store_manifest(self.blobs, "intake", manifest)

    def taken_over(self, ward: BlobStore, prepared: ManifestRef) -> ManifestRef:
        """A preparation of the ward with all its blobs, copied into the session."""
        manifest = read_manifest(ward, prepared)
        with self.blobs.within(SESSION):
            for ref in manifest.outputs.values():
                self.blobs.put(ward.read(ref), ref.media_type, ref.blob_class)
            return store_manifest(self.blobs, "prepare", manifest)

    def request(self, stage: Stage, *inputs: ManifestRef, step: SegmentStep | None = None) -> StageRequest:
        """What navigation asks."""
        return StageRequest(
            request_id=request_id_for([stage, step, [ref.blob.digest for ref in inputs]]),
            stage=stage,
            study=self.study,
            lane=Lane.THEATRE,
            inputs=inputs,
            requested_at=SystemClock().now(),
            step=step,
        )

    @contextmanager
    def calling(self, request: StageRequest, within_s: float = 60.0) -> Iterator[Any]:
        """A call that runs."""
        with grpc.insecure_channel(read_endpoints(self.home)[NAMES[request.stage]]["grpc"]) as channel:
            stub: Any = stage_service_pb2_grpc.StageServiceStub(channel)
            message = stage_service_pb2.RunRequest(request=request_to_proto(request))
            yield stub.Run.future(message, timeout=within_s, metadata=((SESSION_METADATA, SESSION),))

    def run(self, request: StageRequest) -> StageOutcome:
        """Its outcome."""
        with self.calling(request) as call:
            return outcome_from_proto(call.result().outcome)

    def result(self, request: StageRequest) -> tuple[ManifestRef, Manifest]:
        """Its result, as an input of the next stage."""
        outcome = self.run(request)
        assert outcome.manifest is not None, outcome.problem
        with self.blobs.within(SESSION):
            return replace(outcome.manifest, role=request.stage.value), read_manifest(self.blobs, outcome.manifest)

    def documents(self) -> list[str]:
        """Names of the session's documents."""
        with self.blobs.within(SESSION):
            return list(self.blobs.list_named("runs/"))


@contextmanager
def theatre(folder: Path, study: StudyRef, settings: Mapping[str, str] | None = None) -> Iterator[Theatre]:
    """Both processes, ready, and one open session. Nothing is left behind."""
    with triton_server(folder) as triton:
        home = triton.home
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GLIOSERVE_")} | {
            "GLIOSERVE_HOME": str(home.root),
            "GLIOSERVE_TRITON_URL": triton.launch.grpc_address,
            "GLIOSERVE_MODELS": str(triton.spec.models),
            "GLIOSERVE_STAGE__LANE": "theatre",
            "GLIOSERVE_TLS__PLAIN": "true",
            **(settings or {}),
        }
        processes = [_started(module, environ, home) for module in MODULES]
        try:
            wait_until(lambda: _ready(home, processes), "both stages are ready", 120)
            blobs = BoundedBlobStore(home.theatre, Budget(total=2 << 30, session=1 << 30))
            blobs.begin(SESSION)
            yield Theatre(home, triton, blobs, study)
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait(30) for process in processes]
            remove_bounded_store(home.theatre)
        assert codes == [0, 0]
        assert not set(NAMES.values()) & set(read_endpoints(home))


def _started(module: str, environ: Mapping[str, str], home: Home) -> subprocess.Popen[bytes]:
    with (home.logs / f"theatre_{module}.jsonl").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", f"services.{module}"], env=environ, stdout=log, stderr=log)


def _ready(home: Home, processes: list[subprocess.Popen[bytes]]) -> bool:
    logs = [path.read_text()[-2000:] for path in home.logs.glob("theatre_*.jsonl")]
    assert all(process.poll() is None for process in processes), f"a stage ended: {logs}"
    return not unready(home, tuple(NAMES.values()))
