"""A client of the operating room's server: one session, series in, answers out; its token survives a broken stream."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import google_crc32c
import grpc
from glioserve.navigation.v1 import answers_pb2, navigation_service_pb2, navigation_service_pb2_grpc, series_pb2
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.security.tls import TlsSettings, channel

CHUNK = 1 << 20
AHEAD = 4
"""Messages that wait to be written; a series is read from disk as the server takes it."""
Request = navigation_service_pb2.SessionRequest
Response = navigation_service_pb2.SessionResponse
_OPTIONS = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series to send. `deadline_s` None: the session's. `modality` may be empty for DICOM."""

    name: str
    files: Sequence[Path]
    modality: str = ""
    deadline_s: float | None = None
    anatomy_changed: bool = False

    @property
    def format(self) -> series_pb2.SeriesFormat.ValueType:
        """By the name of its file."""
        nifti = self.files[0].name.lower().endswith((".nii", ".nii.gz"))
        return series_pb2.SERIES_FORMAT_NIFTI if nifti else series_pb2.SERIES_FORMAT_DICOM


class TheatreClient:
    """One stream of a session. `resume`: the token of a session to take up, and the number of its last answer."""

    def __init__(self, address: str, tls: TlsSettings, resume: tuple[str, int] = ("", 0)) -> None:
        self._channel = channel(address, tls, _OPTIONS)
        self._outgoing: queue.Queue[Request | None] = queue.Queue(maxsize=AHEAD)
        self._stub = navigation_service_pb2_grpc.NavigationServiceStub(self._channel)
        self._resume = resume
        self._over = threading.Event()
        self.accepted = answers_pb2.Accepted()
        self.last = resume[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(
        self, study: str = "", deadline_s: float | None = None, wanted: Sequence[answers_pb2.MaskKind.ValueType] = ()
    ) -> answers_pb2.Accepted:
        """Opens the session, or takes it up. Raises what `classed` makes of a refusal."""
        token, last = self._resume
        start = navigation_service_pb2.SessionStart(
            study=study, deadline=_duration(deadline_s), wanted=wanted, resume_token=token, last_sequence=last
        )
        return self.start_with(Request(start=start))

    def start_with(self, first: Request) -> answers_pb2.Accepted:
        """Opens the stream with any message; the server takes a start and nothing else."""
        self.put(first)
        self._responses = iter(self._stub.Session(iter(self._next, None)))
        self.accepted = self._answer().accepted
        return self.accepted

    def answers(self) -> Iterator[Response]:
        """Everything the session says, until it or the stream ends. Raises what `classed` makes of an error."""
        while True:
            try:
                response = next(self._responses)
            except StopIteration:
                return
            except grpc.RpcError as error:
                raise classed(error) from error
            self.last = max(self.last, response.sequence)
            yield response

    def send(self, series: Series, first_chunk: int = 0) -> None:
        """The series, from a chunk on; blocks as the server reads."""
        if first_chunk == 0:
            self.send_header(series)
        for chunk in chunks(series):
            if chunk.sequence >= first_chunk:
                self.send_chunk(chunk)

    def send_header(self, series: Series) -> None:
        """What comes; its chunks follow."""
        header = series_pb2.SeriesHeader(
            series=series.name,
            format=series.format,
            modality=series.modality,
            file_sizes=[path.stat().st_size for path in series.files],
            deadline=_duration(series.deadline_s),
            anatomy_changed=series.anatomy_changed,
        )
        self.put(Request(header=header))

    def send_chunk(self, chunk: series_pb2.SeriesChunk) -> None:
        """One chunk of the series whose header was sent last."""
        self.put(Request(chunk=chunk))

    def cancel(self, series: str) -> None:
        """The series is not wanted any more."""
        self.put(Request(cancel=navigation_service_pb2.CancelSeries(series=series)))

    def reprioritise(self, series: str) -> None:
        """The series goes before the others that wait."""
        self.put(Request(reprioritise=navigation_service_pb2.Reprioritise(series=series)))

    def end(self) -> None:
        """Ends the session."""
        self.put(Request(end=navigation_service_pb2.EndSession()))
        self.put(None)

    def close(self) -> None:
        """Breaks the stream; the session stays for its token."""
        self._over.set()
        self._channel.close()

    def _answer(self) -> Response:
        try:
            response: Response = next(self._responses)
        except grpc.RpcError as error:
            raise classed(error) from error
        return response

    def put(self, request: Request | None) -> None:
        """Any message; None is the last. Waits while the server does not read."""
        while not self._over.is_set():
            try:
                self._outgoing.put(request, timeout=0.5)
            except queue.Full:
                continue
            return

    def _next(self) -> Request | None:
        while not self._over.is_set():
            try:
                return self._outgoing.get(timeout=0.5)
            except queue.Empty:
                continue
        return None


def chunks(series: Series) -> Iterator[series_pb2.SeriesChunk]:
    """A series in chunks of at most 1 MiB, the last with the digest of the whole."""
    total = sum(path.stat().st_size for path in series.files)
    whole, sent, sequence = hashlib.sha256(), 0, 0
    for path in series.files:
        with path.open("rb") as handle:
            while data := handle.read(CHUNK):
                whole.update(data)
                sent += len(data)
                yield series_pb2.SeriesChunk(
                    series=series.name,
                    sequence=sequence,
                    data=data,
                    crc32c=google_crc32c.value(data),
                    sha256=whole.digest() if sent == total else b"",
                )
                sequence += 1


def classed(error: grpc.RpcError) -> GlioServeError:
    """The error by the caller's reaction; its code is the reason that the server names."""
    status, text, code = error.code(), error.details() or "", error.code().name
    for key, value in cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ()):
        if key == "grpc-status-details-bin":
            code = _reason(value) or code
    if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED):
        return Transient(code, text or "the connection broke", "Connect again.")
    if status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return Permanent(code, text)
    return Refused(code, text)


def _reason(details: bytes) -> str:
    status, info = status_pb2.Status.FromString(details), error_details_pb2.ErrorInfo()
    return next((str(info.reason) for detail in status.details if detail.Unpack(info)), "")


def _duration(seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
