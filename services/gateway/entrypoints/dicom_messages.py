"""What pynetdicom lacks for a door that strangers can reach: limits on what a peer may send, and staging.

The library obeys any announced PDU length, waits for ever within a PDU and keeps whole data sets in memory. Here a PDU
has a largest size and a time, and the bytes of a C-STORE go to staging as they arrive, counted like every upload.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from services.core.contracts.errors import GlioServeError, Refused, Transient
from services.core.imaging.dicom_file import PARSE_ERRORS
from services.gateway.domain.upload import StagedFile
from services.gateway.ports import Upload

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_COMMAND_BYTES = 64 << 10
MAX_DROPPED_BYTES = 64 << 20
"""After a refusal so much of an instance is read and dropped, for its sender to get the answer; then it is cut off."""
PDU_SLACK_BYTES = 64 << 10
"""An association request may be longer than the PDUs that it negotiates."""
_INVALID = "Evt19"  # of the state machine of PS3.8 9.2: an invalid PDU; it aborts the association
log = logging.getLogger(__name__)


class BoundedSocket(AssociationSocket):
    """Takes over the socket of a new association. A PDU of more bytes, or of more seconds, closes the connection."""

    def __init__(self, plain: AssociationSocket, longest: int, within_s: float) -> None:
        vars(self).update(vars(plain))  # the parent's constructor announces the connection: not a second time
        self._longest = longest + PDU_SLACK_BYTES
        self._within_s = within_s

    def recv(self, nr_bytes: int) -> bytearray:
        """As much of these bytes as comes in time; fewer tell the caller that the connection is lost."""
        plain = self.socket
        if plain is None or nr_bytes > self._longest:
            self._shutdown_socket()
            return bytearray()
        received, filled = bytearray(nr_bytes), 0
        deadline = time.monotonic() + self._within_s
        with memoryview(received) as view:
            while filled < nr_bytes:
                plain.settimeout(max(deadline - time.monotonic(), 0.001))
                count = plain.recv_into(view[filled:])
                if not count:
                    break
                filled += count
        plain.settimeout(self._within_s)
        return received if filled == nr_bytes else received[:filled]


class StagedDataSet(BytesIO):
    """What pynetdicom takes for the memory of a data set: a PS3.10 file in staging. Nothing of it stays in memory."""

    def __init__(self, message: DIMSEMessage, association: Association, receive: Callable[[], Upload]) -> None:
        super().__init__()
        self._message = message
        self._association = association
        self._receive = receive
        self._upload: Upload | None = None
        self._error: GlioServeError | None = None
        self._dropped = 0
        self.received = 0

    def write(self, data: ReadableBuffer, /) -> int:
        """More of it. A refusal is kept for `finish`. Raises ValueError when a refused one goes on and on."""
        chunk = bytes(data)
        self.received += len(chunk)
        if self._error is not None:
            self._dropped += len(chunk)
            if self._dropped > MAX_DROPPED_BYTES:
                raise ValueError("an instance goes on after it was refused")
            return len(chunk)
        try:
            self._begun().write(chunk)
        except GlioServeError as error:
            self._error = error
            self.discard()
        except OSError:
            log.exception("dicom.staging_failed")
            self._error = Transient("STAGING_UNAVAILABLE", "the instance could not be received", "Send it again.")
            self.discard()
        return len(chunk)

    @property
    def staged(self) -> bool:
        """True while it lies in staging."""
        return self._upload is not None

    def finish(self) -> tuple[StagedFile, ...]:
        """The file. Raises GlioServeError: what went wrong while it came."""
        if self._error is not None:
            raise self._error
        if self._upload is None:
            raise Refused("EMPTY_UPLOAD", "the request holds no data set")
        self._upload.end()
        return self._upload.files

    def discard(self) -> None:
        """Deletes the file from staging."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.__exit__(None, None, None)

    def _begun(self) -> Upload:
        if self._upload is None:
            meta = self._meta()
            self._upload = self._receive()
            self._upload.begin("instance.dcm")
            self._upload.write(meta)
        return self._upload

    def _meta(self) -> bytes:
        """Preamble and meta information (PS3.10 7.1) as the request states them."""
        contexts = {context.context_id: context for context in self._association.accepted_contexts}
        context = contexts.get(self._message.context_id)
        if context is None or not isinstance(self._message, C_STORE_RQ):
            raise Refused("NOT_A_STORE", "data that belong to no C-STORE request")
        command = self._message.command_set
        try:
            meta = create_file_meta(
                sop_class_uid=command.AffectedSOPClassUID,
                sop_instance_uid=command.AffectedSOPInstanceUID,
                transfer_syntax=context.transfer_syntax[0],
            )
            return b"\0" * 128 + b"DICM" + encode_file_meta(meta)
        except PARSE_ERRORS as error:
            raise Refused("BAD_UID", "the request names no SOP class or instance") from error


class StagedMessages(DIMSEServiceProvider):
    """The messages of one association, data sets in staging. `discard` deletes what nobody has taken."""

    def __init__(self, association: Association, receive: Callable[[], Upload]) -> None:
        super().__init__(association)
        self._receive = receive
        self._waiting: list[StagedDataSet] = []

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Part of a message. What is none aborts the association."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.encoded_command_set = _Command()
            data_set = StagedDataSet(self.message, self.assoc, self._receive)
            self.message.data_set = data_set
            self._waiting = [*(known for known in self._waiting if known.staged), data_set]
        try:
            super().receive_primitive(primitive)
        except PARSE_ERRORS:
            self.dul.event_queue.put(_INVALID)

    def discard(self) -> None:
        """Call when the association has ended."""
        for data_set in self._waiting:
            data_set.discard()


class _Command(BytesIO):
    """A command set: a few hundred bytes."""

    def write(self, data: ReadableBuffer, /) -> int:
        if self.tell() > MAX_COMMAND_BYTES:
            raise ValueError("a command set is longer than any that is known")
        return super().write(data)
