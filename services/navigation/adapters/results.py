"""After the final mask: series and masks become durable, and the gateway hears of them, now or when it is back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

import grpc
import grpc.aio
from glioserve.gateway.v1 import theatre_service_pb2

from services.core.contracts.errors import Transient
from services.core.contracts.events import BlobRef, ManifestRef, StudyRef
from services.core.contracts.ids import PatientKey, RunId, StudyKey
from services.core.contracts.manifest import Manifest, blob_from_json, blob_to_json
from services.core.contracts.wire import manifest_ref_to_proto, study_ref_to_proto
from services.core.runtime.stage import read_manifest, store_manifest
from services.core.storage.port import BlobStore
from services.core.telemetry.metrics import Metrics
from services.navigation.adapters.gateway import WITHIN_S, GatewayDoor, copied
from services.navigation.ports import Received

AGAIN_S = 2.0
_LEFT_OUT = ("evidence/",)
"""Large, and only of use to the run that follows at once."""
log = logging.getLogger(__name__)


class DurableResults:
    """The port `Results`: copies to the ward's store, then a file in the spool until the gateway acknowledges."""

    def __init__(self, theatre: BlobStore, ward: BlobStore, spool: Path) -> None:
        self._theatre = theatre
        self._ward = ward
        self._spool = spool
        spool.mkdir(parents=True, exist_ok=True)

    def keep(self, study: StudyRef, received: Received, result: ManifestRef) -> None:
        """Durable when it returns. Raises Transient when a store does not answer."""
        copied(self._theatre, self._ward, received.manifest.outputs.values())
        store_manifest(self._ward, "intake", received.manifest)
        final = self._stored(result)
        for ref in final.inputs:
            self._stored(ref)
        note = {
            "study": [study.patient, study.study, study.version],
            "run_id": result.run_id,
            "blob": blob_to_json(result.blob),
            "acquired_at": received.acquired_at,
        }
        _write(self._spool / f"{result.run_id}.json", json.dumps(note).encode())

    def _stored(self, ref: ManifestRef) -> Manifest:
        manifest = read_manifest(self._theatre, ref)
        outputs = (blob for name, blob in manifest.outputs.items() if not name.startswith(_LEFT_OUT))
        copied(self._theatre, self._ward, outputs)
        store_manifest(self._ward, ref.role, manifest)
        return manifest


class SpoolRelay:
    """Tells the gateway what is in the spool, oldest first, until it acknowledges. The same result twice is one."""

    def __init__(self, spool: Path, door: GatewayDoor, metrics: Metrics) -> None:
        self._spool = spool
        self._door = door
        self._gauge = metrics.navigation_spool

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(AGAIN_S)

    async def sweep(self) -> None:
        """One round; ends at the first result that the gateway does not take."""
        notes = sorted(self._spool.glob("*.json"), key=lambda path: path.stat().st_mtime)
        self._gauge.set(len(notes))
        for path in notes:
            try:
                stub = await self._door.stub()
                await stub.RecordResult(_request(path), timeout=WITHIN_S)
            except (Transient, grpc.aio.AioRpcError) as error:
                log.warning("theatre.spooled", extra={"count": len(notes), "reason": type(error).__name__})
                return
            path.unlink()
            self._gauge.dec()


def _request(path: Path) -> theatre_service_pb2.RecordResultRequest:
    note = json.loads(path.read_bytes())
    patient, study, version = note["study"]
    ref = ManifestRef(role="segment", run_id=RunId(note["run_id"]), blob=_blob(note["blob"]))
    return theatre_service_pb2.RecordResultRequest(
        study=study_ref_to_proto(StudyRef(patient=PatientKey(patient), study=StudyKey(study), version=version)),
        manifest=manifest_ref_to_proto(ref),
        acquired_at=note["acquired_at"] or "",
    )


def _blob(document: dict[str, object]) -> BlobRef:
    return blob_from_json(document)


def _write(path: Path, data: bytes) -> None:
    """Whole and durable, or not there."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
