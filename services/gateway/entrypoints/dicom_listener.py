"""The DICOM door (C-STORE, C-ECHO): a success status is sent when the instance is durable and committed, not before.

AE titles are names, no proof: beyond loopback the peers also show a certificate (TLS of both sides, PS3.15 B.9).
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from socketserver import BaseServer
from types import TracebackType
from typing import Any, Self, cast

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from services.core.contracts.errors import GlioServeError, Transient
from services.core.imaging.dicom_header import ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE, MR_IMAGE
from services.core.telemetry.tracing import continued
from services.gateway.entrypoints.context import HttpContext
from services.gateway.entrypoints.dicom_messages import BoundedSocket, StagedDataSet, StagedMessages
from services.gateway.entrypoints.dicom_status import PROCESSING_FAILURE, SUCCESS, status_number
from services.gateway.handlers.instances import Delivery, take_instances

DOOR = "dicom"
VERIFICATION = "1.2.840.10008.1.1"
SYNTAXES = (  # the first that the peer proposes is taken
    "1.2.840.10008.1.2.1",  # explicit little endian
    "1.2.840.10008.1.2",  # implicit little endian
    "1.2.840.10008.1.2.2",  # explicit big endian
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)
COMMENT_LENGTH = 64  # of an Error Comment, VR LO (PS3.7 C.4.2, PS3.5 6.2)
POLL_S = 0.1
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where it listens, who may call, and how much. `within_s`: longest silence, and longest time of one PDU."""

    host: str
    port: int
    ae_title: str
    calling: Sequence[str]
    tls: ssl.SSLContext | None = None
    associations: int = 8
    pdu_bytes: int = 128 << 10
    establish_s: float = 10.0
    within_s: float = 60.0
    drain_s: float = 10.0


class DicomListener:
    """Listens while its context lasts. `address` is host:port."""

    def __init__(self, listening: Listening, context: HttpContext) -> None:
        self._listening = listening
        self._context = context
        self._state = threading.Condition()
        self._storing = 0
        self._draining = False
        _config.LOG_HANDLER_LEVEL = "none"  # else every PDU is rendered as text, to be thrown away
        self._server = _server(listening, self)
        port = self._server.socket.getsockname()[1] if self._server.socket else 0
        self.address = f"[{listening.host}]:{port}" if ":" in listening.host else f"{listening.host}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="dicom", daemon=True)

    def serving(self) -> bool:
        """True while it accepts associations."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes no new association and no new instance, lets those that are being stored end, closes."""
        BaseServer.shutdown(self._server)
        self._thread.join()
        with self._state:
            self._draining = True
            self._state.wait_for(lambda: self._storing == 0, self._listening.drain_s)
        self._server.end_associations()
        self._server.server_close()

    def protected(self, plain: socket.socket) -> socket.socket:
        """The connection as it is to be used; with TLS the handshake is made here, within the time. Raises OSError."""
        plain.settimeout(self._listening.establish_s)
        tls = self._listening.tls
        made = tls.wrap_socket(plain, server_side=True) if tls else plain
        made.settimeout(self._listening.within_s)
        return made

    def staged(self, association: Association) -> StagedMessages:
        """Puts limits and staging under a new association."""
        plain = cast("AssociationSocket", association.dul.socket)
        association.dul.socket = BoundedSocket(plain, self._listening.pdu_bytes, self._listening.within_s)
        messages = StagedMessages(association, self._context.staging.receive)
        association.dimse = messages
        return messages

    def store(self, event: evt.Event) -> Dataset:
        """Answers one C-STORE request."""
        with self._state:
            draining = self._draining
            if not draining:
                self._storing += 1
        if draining:
            return _status(Transient("STOPPING", "this server is about to stop", "Send it again."))
        data_set: Any = event.request.DataSet  # type: ignore[union-attr]
        try:
            with continued("dicom store", {}):
                return self._stored(data_set)
        except Exception:  # a top-level loop (house style 3.5)
            log.exception("dicom.unexpected")
            return _numbered(PROCESSING_FAILURE, "an error of ours; it is in the log")
        finally:
            data_set.discard()
            with self._state:
                self._storing -= 1
                self._state.notify_all()

    def _stored(self, data_set: StagedDataSet) -> Dataset:
        context = self._context
        context.metrics.bytes_in.labels(DOOR).inc(data_set.received)
        error: GlioServeError | None
        try:
            (receipt,) = take_instances(data_set.finish(), Delivery(door=DOOR), context.inspector, context.intake)
            error = receipt.error
        except GlioServeError as failed:
            error = failed
        context.metrics.uploads.labels(DOOR, "refused" if error else "accepted").inc()
        if error is None:
            return _numbered(SUCCESS)
        log.info("dicom.refused", extra={"code": error.code})
        return _status(error)


class _Server(ThreadedAssociationServer):
    """One thread a connection, which stays until its association has ended and its staging is empty."""

    daemon_threads = False  # the end waits for them
    listener: DicomListener
    most: int

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self.ending = threading.Event()
        super().__init__(*arguments, **named)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """False when there are too many connections: more than are told so by a rejection."""
        return len(self._connections) < self.most

    def add(self, connection: _Connection) -> None:
        """A connection has begun."""
        with self._lock:
            self._connections.add(connection)

    def remove(self, connection: _Connection) -> None:
        """A connection has ended."""
        with self._lock:
            self._connections.discard(connection)

    def end_associations(self) -> None:
        """Aborts all that are open."""
        self.ending.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.end()


class _Connection(RequestHandler):
    """One connection from its first byte to its last."""

    server: _Server
    association: Association | None = None

    def handle(self) -> None:
        """Runs the association."""
        self.server.add(self)
        try:
            self.request = self.server.listener.protected(self.request)
            self._associate()
        except OSError as error:  # no handshake, or gone
            log.info("dicom.connection_failed", extra={"kind": type(error).__name__})
        finally:
            self.server.remove(self)
            self.server.shutdown_request(self.request)

    def end(self) -> None:
        """Ends it from another thread."""
        association = self.association
        if association is not None and association.is_established:
            association.abort()
        else:
            self.server.shutdown_request(self.request)

    def _associate(self) -> None:
        association = self.association = self._create_association()
        messages = self.server.listener.staged(association)
        association.start()
        while association.is_alive() and not self.server.ending.is_set():
            association.join(POLL_S)
        if association.is_alive() and not association.is_established:
            association.kill()
        association.dul.join()
        messages.discard()


def _server(listening: Listening, listener: DicomListener) -> _Server:
    entity = AE(listening.ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(listening.calling)
    entity.maximum_associations = listening.associations
    entity.maximum_pdu_size = listening.pdu_bytes
    entity.acse_timeout = listening.establish_s
    entity.dimse_timeout = entity.network_timeout = listening.within_s
    for sop_class in (MR_IMAGE, ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE):
        entity.add_supported_context(sop_class, list(SYNTAXES))
    entity.add_supported_context(VERIFICATION, list(SYNTAXES[:3]))
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, listener.store), (evt.EVT_REJECTED, _rejected)]
    address = (listening.host, listening.port)
    made = entity.make_server(address, evt_handlers=handlers, server_class=_Server, request_handler=_Connection)
    server = cast("_Server", made)
    server.listener = listener
    server.most = 2 * listening.associations
    return server


def _rejected(_: evt.Event) -> None:
    log.warning("dicom.association_rejected")


def _status(error: GlioServeError) -> Dataset:
    return _numbered(status_number(error), error.message)


def _numbered(number: int, comment: str = "") -> Dataset:
    status = Dataset()
    status.Status = number
    if comment:
        status.ErrorComment = comment[:COMMENT_LENGTH]
    return status
