"""The running gateway of a test, stages that answer, and files to send."""

from __future__ import annotations

import gzip
import io
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import nibabel as nib
import numpy as np

from services.core.bus.factory import open_bus
from services.core.bus.topics import BUS_LANES, HEADER_REQUEST_ID, OUTCOME_TOPIC, request_topic
from services.core.contracts.enums import Completeness, OutcomeStatus, Stage
from services.core.contracts.events import Problem, StageOutcome, StageRequest, run_id_for
from services.core.contracts.manifest import Manifest
from services.core.contracts.wire import decode_request, encode_outcome
from services.core.runtime.home import Home, read_endpoints
from services.core.runtime.process import Process
from services.core.runtime.stage import store_manifest
from services.core.storage.local import LocalBlobStore
from services.gateway.bootstrap import run

T = TypeVar("T")
Document = dict[str, Any]
WITHIN_S = 30.0


def eventually(found: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
    """Waits for a condition."""
    deadline = time.monotonic() + within_s
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class RunningGateway:
    process: Process
    home: Home
    url: str
    health: str
    http: httpx.Client

    def study(self, key: str) -> Document:
        answer = self.http.get(f"/studies/{key}")
        assert answer.status_code == httpx.codes.OK, answer.text
        document: Document = answer.json()
        return document

    def post_files(self, files: Mapping[str, bytes], **parameters: object) -> httpx.Response:
        parts = [("files", (name, data, "application/octet-stream")) for name, data in files.items()]
        return self.http.post("/studies", files=parts, params=_flat(parameters))

    def post_zip(self, data: bytes, **parameters: object) -> httpx.Response:
        headers = {"Content-Type": "application/zip"}
        return self.http.post("/studies", content=data, headers=headers, params=_flat(parameters))

    def done(self, key: str, revision: int = 1) -> Document:
        def ended() -> Document | None:
            document = self.study(key)
            return document if document["state"] == "done" and document["revision"] >= revision else None

        return eventually(ended)

    def leftovers(self) -> list[Path]:
        return list(self.home.staging.iterdir())

    def stored(self) -> list[Path]:
        return [path for path in self.home.blobs.rglob("*") if path.is_file()]


def _flat(parameters: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


@contextmanager
def running(process: Process) -> Iterator[RunningGateway]:
    """Runs a gateway in threads of this process until the end of the block."""
    failed: list[BaseException] = []

    def body() -> None:
        try:
            run(process)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=body, name="gateway")
    thread.start()

    def address() -> dict[str, str] | None:
        if failed:
            raise failed[0]
        return read_endpoints(process.home).get("gateway")

    try:
        found = eventually(address)
        with httpx.Client(base_url=found["http"], timeout=WITHIN_S, verify=False) as http:  # noqa: S501 - own test CA
            yield RunningGateway(process, process.home, found["http"], found["health"], http)
    finally:
        process.stop.set()
        thread.join(WITHIN_S)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


Answer = Callable[[StageRequest], OutcomeStatus]


def completed(_: StageRequest) -> OutcomeStatus:
    return OutcomeStatus.COMPLETED


@dataclass
class Stages:
    """Answers every request of a home's bus, as five workers would."""

    home: Home
    answer: Answer = completed
    seen: list[StageRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stages")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        blobs = LocalBlobStore(self.home.blobs)
        bus = open_bus("embedded", self.home)
        producer = bus.producer()
        topics = {stage: [request_topic(stage, lane) for lane in BUS_LANES] for stage in Stage}
        consumers = [bus.consumer(f"glioserve.{stage}", names) for stage, names in topics.items()]
        while not self._stop.is_set():
            for consumer in consumers:
                for record in consumer.poll(0.005):
                    request = decode_request(record.value)
                    self.seen.append(request)
                    outcome = outcome_of(request, self.answer(request), blobs)
                    headers = {HEADER_REQUEST_ID: request.request_id}
                    producer.send(OUTCOME_TOPIC, record.key, encode_outcome(outcome), headers)
                    consumer.commit(record)
        for consumer in consumers:
            with suppress(Exception):
                consumer.close()
        producer.close()


def outcome_of(request: StageRequest, status: OutcomeStatus, blobs: LocalBlobStore) -> StageOutcome:
    run_id = run_id_for(request, "test", [])
    good = status in (OutcomeStatus.COMPLETED, OutcomeStatus.DEGRADED)
    problem = Problem(stage=request.stage, status=status, code="BAD_DAY", message="it did not work", advice="Wait.")
    manifest = Manifest(
        run_id=run_id,
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        settings_hash="test",
        completeness=Completeness.INSUFFICIENT if request.problems else Completeness.COMPLETE,
        inputs=request.inputs,
        outputs=_report_outputs(run_id, blobs) if request.stage is Stage.REPORT else {},
    )
    return StageOutcome(
        request_id=request.request_id,
        stage=request.stage,
        study=request.study,
        lane=request.lane,
        status=status,
        run_id=run_id,
        emitted_at=request.requested_at,
        manifest=store_manifest(blobs, request.stage, manifest) if good else None,
        problem=None if good else problem,
    )


def _report_outputs(run_id: str, blobs: LocalBlobStore) -> dict[str, Any]:
    return {
        "report.json": blobs.put(f'{{"run": "{run_id}"}}'.encode(), "application/vnd.glioserve.report+json"),
        "report.pdf": blobs.put(b"%PDF-1.7 " + run_id.encode(), "application/pdf"),
        "segmentation.nii.gz": blobs.put(gzip.compress(run_id.encode(), mtime=0), "application/gzip"),
    }


def nifti(seed: int = 0, shape: tuple[int, ...] = (8, 9, 10), *, singular: bool = False) -> bytes:
    """A small image as .nii.gz."""
    voxels = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    image: Any = nib.Nifti1Image(voxels, np.eye(4))
    data = bytearray(image.to_bytes())
    if singular:
        data[312:328] = bytes(16)  # srow_z of NIfTI-1
    return gzip.compress(data, mtime=0)


def four_sequences(seed: int = 0, prefix: str = "") -> dict[str, bytes]:
    names = ("t1n", "t1c", "t2w", "t2f")
    return {f"{prefix}{name}.nii.gz": nifti(10 * seed + index) for index, name in enumerate(names)}


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
