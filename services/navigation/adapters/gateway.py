"""What the theatre takes from the gateway (once, at the start) and gives to it (after a final mask)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import grpc
import grpc.aio
from glioserve.gateway.v1 import theatre_service_pb2, theatre_service_pb2_grpc

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Transient
from services.core.contracts.events import BlobRef, ManifestRef
from services.core.contracts.wire import manifest_ref_from_proto, study_ref_from_proto
from services.core.runtime.stage import read_manifest, store_manifest
from services.core.security.tls import RenewedChannel, TlsSettings
from services.core.storage.port import BlobStore, SessionStore
from services.navigation.domain.answers import Fault, Reason
from services.navigation.ports import KnownStudy

WITHIN_S = 2.0
log = logging.getLogger(__name__)


class GatewayDoor:
    """A channel to the gateway's internal port, wherever it listens now."""

    def __init__(self, address_of: Callable[[], str | None], tls: TlsSettings) -> None:
        self._address_of = address_of
        self._tls = tls
        self._channel: tuple[str, RenewedChannel] | None = None

    async def stub(self) -> theatre_service_pb2_grpc.TheatreServiceAsyncStub:
        """Raises Transient while the gateway is away."""
        address = self._address_of()
        if address is None:
            raise Transient("GATEWAY_AWAY", "the gateway is not running", "Start it.")
        if self._channel is None or self._channel[0] != address:
            await self.close()
            self._channel = (address, RenewedChannel(address, self._tls))
        return theatre_service_pb2_grpc.TheatreServiceStub(self._channel[1].get())

    async def close(self) -> None:
        """Ends all calls."""
        if self._channel is not None:
            await self._channel[1].close()
            self._channel = None


class GatewayStudies:
    """The port `StudySource`: asks the gateway and copies what was prepared into the theatre's store."""

    def __init__(self, door: GatewayDoor, ward: BlobStore, theatre: SessionStore) -> None:
        self._door = door
        self._ward = ward
        self._theatre = theatre

    async def study(self, study: str, session: str) -> KnownStudy:
        """Raises Fault STUDY_UNKNOWN, Transient when the gateway or the store is away."""
        stub = await self._door.stub()
        try:
            answer = await stub.GetStudy(theatre_service_pb2.GetStudyRequest(study=study), timeout=WITHIN_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise Fault(Reason.STUDY_UNKNOWN, f"the gateway knows no study {study[:64]}") from error
            raise Transient("GATEWAY_AWAY", f"the gateway did not answer: {error.code().name}") from error
        refs = [manifest_ref_from_proto(ref) for ref in answer.manifests]
        prepared = next((ref for ref in refs if ref.role == "prepare"), None)
        with self._theatre.within(session):
            modalities = () if prepared is None else await asyncio.to_thread(self._copied, prepared)
        return KnownStudy(study=study_ref_from_proto(answer.study), prepared=prepared, modalities=modalities)

    def _copied(self, prepared: ManifestRef) -> tuple[Modality, ...]:
        manifest = read_manifest(self._ward, prepared)
        volumes = {name: ref for name, ref in manifest.outputs.items() if name != "headers"}
        copied(self._ward, self._theatre, (*volumes.values(), prepared.blob))
        store_manifest(self._theatre, prepared.role, manifest)
        return tuple(slot for slot in Modality if f"volume/{slot}" in volumes)


def copied(source: BlobStore, target: BlobStore, refs: Iterable[BlobRef]) -> None:
    """Copies blobs that the target does not have. Raises as the stores."""
    for ref in refs:
        if not target.exists(ref):
            target.put(source.read(ref), ref.media_type, ref.blob_class)
