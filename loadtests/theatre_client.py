"""A client of the operating room written against the generated stubs alone, with a clock at the last byte.

Times of an answer count from the moment at which the last chunk was handed to gRPC. Series are NIfTI files.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from glioserve.navigation.v1 import answers_pb2, navigation_service_pb2, navigation_service_pb2_grpc, series_pb2
from google.protobuf import duration_pb2

from services.cli.theatre_client import Series, chunks

MAX_ANSWER = 64 << 20
Request = navigation_service_pb2.SessionRequest
Response = navigation_service_pb2.SessionResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFile:
    """A NIfTI file to send as series `name`. `deadline_s` None takes the session's."""

    name: str
    path: Path
    modality: str
    anatomy_changed: bool = False
    deadline_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Answered:
    """What came for a series. Seconds from the last byte; `word`: complete, degraded, insufficient, refused, cancelled
    or none.
    """

    series: str
    digest: str
    last_byte_at: float | None = None
    coarse_s: float | None = None
    final_s: float | None = None
    last_word_s: float | None = None
    word: str = "none"
    reasons: list[str] = field(default_factory=list)
    coarse: answers_pb2.MaskAnswer | None = None
    final: answers_pb2.MaskAnswer | None = None
    done: threading.Event = field(default_factory=threading.Event)


class TheatreSession:
    """One session on one stream; closes with its context. Raises grpc.RpcError from `wait` when the stream broke."""

    def __init__(self, address: str, study: str = "", deadline_s: float = 30.0) -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", MAX_ANSWER)])
        self._requests: queue.Queue[tuple[Request, Answered | None] | None] = queue.Queue(maxsize=8)
        self._series: dict[str, Answered] = {}
        self._broken: grpc.RpcError | None = None
        self.accepted: answers_pb2.Accepted | None = None
        self._open = threading.Event()
        start = navigation_service_pb2.SessionStart(study=study, deadline=_duration(deadline_s))
        self._requests.put((Request(start=start), None))
        self._stream = navigation_service_pb2_grpc.NavigationServiceStub(self._channel).Session(self._outgoing())
        self._thread = threading.Thread(target=self._read, name="answers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.put((Request(end=navigation_service_pb2.EndSession()), None))
        self._requests.put(None)
        self._thread.join(10)
        self._stream.cancel()  # type: ignore[no-untyped-call]
        self._channel.close()

    def opened(self, within_s: float = 30.0) -> answers_pb2.Accepted:
        """The server's welcome. Raises grpc.RpcError or TimeoutError."""
        if not self._open.wait(within_s):
            raise TimeoutError("no session within the time")
        self._raise()
        assert self.accepted is not None
        return self.accepted

    def send(self, series: SeriesFile) -> Answered:
        """Sends a series as fast as the server reads; returns when the last chunk is queued."""
        digest = hashlib.sha256(series.path.read_bytes()).hexdigest()
        answered = Answered(series=series.name, digest=f"sha256:{digest}")
        self._series[series.name] = answered
        header = series_pb2.SeriesHeader(
            series=series.name, format=series_pb2.SERIES_FORMAT_NIFTI, modality=series.modality,
            file_sizes=[series.path.stat().st_size], anatomy_changed=series.anatomy_changed,
        )  # fmt: skip
        if series.deadline_s is not None:
            header.deadline.CopyFrom(_duration(series.deadline_s))
        self._requests.put((Request(header=header), None))
        for chunk in chunks(Series(name=series.name, files=[series.path])):
            self._requests.put((Request(chunk=chunk), answered if chunk.sha256 else None))
        return answered

    def wait(self, answered: Answered, within_s: float) -> Answered:
        """Waits for the last word on a series; `word` stays `none` when it does not come. Raises grpc.RpcError."""
        answered.done.wait(within_s)
        if answered.word == "none":
            self._raise()
        return answered

    def _outgoing(self) -> Iterator[Request]:
        while (item := self._requests.get()) is not None:
            request, answered = item
            if answered is not None:
                answered.last_byte_at = time.time()
            yield request

    def _read(self) -> None:
        try:
            for response in self._stream:
                self._take(response)
        except grpc.RpcError as error:
            self._broken = error
        finally:
            self._open.set()
            for answered in self._series.values():
                answered.done.set()

    def _take(self, response: Response) -> None:
        body = response.WhichOneof("body")
        if body == "accepted":
            self.accepted = response.accepted
            self._open.set()
        elif body == "mask":
            self._mask(response.mask)
        elif body == "degraded":
            self._last_word(response.degraded.series, "degraded", [response.degraded.limit])
        elif body == "refused":
            self._last_word(response.refused.series, "refused", [response.refused.limit])
        elif body == "cancelled":
            self._last_word(response.cancelled.series, "cancelled", [])

    def _mask(self, mask: answers_pb2.MaskAnswer) -> None:
        answered = self._series[mask.series]
        seconds = _since(answered)
        if mask.kind == answers_pb2.MASK_KIND_COARSE:
            answered.coarse_s, answered.coarse = seconds, mask
            return
        answered.final_s, answered.final = seconds, mask
        word = answers_pb2.Completeness.Name(mask.completeness).removeprefix("COMPLETENESS_").lower()
        self._last_word(mask.series, word, list(mask.limits))

    def _last_word(self, series: str, word: str, limits: list[answers_pb2.Limit]) -> None:
        answered = self._series.get(series)
        if answered is None:
            return
        answered.last_word_s = _since(answered)
        answered.word = word
        answered.reasons = [answers_pb2.Reason.Name(limit.reason).removeprefix("REASON_") for limit in limits]
        answered.done.set()

    def _raise(self) -> None:
        if self._broken is not None:
            raise self._broken


def _since(answered: Answered) -> float:
    """Seconds from the last byte on; 0 for an answer that overtakes it."""
    return 0.0 if answered.last_byte_at is None else time.time() - answered.last_byte_at


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(round(1000 * seconds))
    return duration
