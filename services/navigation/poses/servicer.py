"""TrackPoses: one answer a pose, in order. Not reading is the back-pressure: nothing is queued here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
from glioserve.navigation.v1 import answers_pb2, pose_service_pb2, pose_service_pb2_grpc

from services.core.runtime.clock import Clock
from services.core.telemetry.metrics import Metrics
from services.navigation.domain.answers import Fault
from services.navigation.domain.pose_answer import Moment, PoseAnswer, PoseReason, StaleRules, answer
from services.navigation.domain.token import folder_name
from services.navigation.entrypoints.grpc_server import abort, require_navigation
from services.navigation.poses.pace import Pace
from services.navigation.poses.shown import Watched

Request: TypeAlias = pose_service_pb2.TrackPosesRequest
Response: TypeAlias = pose_service_pb2.TrackPosesResponse
Context: TypeAlias = "grpc.aio.ServicerContext[Request, Response]"
_CAUSES = dict(pose_service_pb2.StaleCause.items())
_LIMITS = {
    PoseReason.POSE_INVALID: answers_pb2.Limit(
        reason=answers_pb2.REASON_POSE_INVALID,
        message="a pose is 16 finite numbers, row by row: a rigid transform from the tool to patient RAS mm",
        advice="Check the tracker and its registration.",
    ),
    PoseReason.NO_MASK_YET: answers_pb2.Limit(
        reason=answers_pb2.REASON_NO_MASK_YET, message="the session has no mask yet", advice="Wait for its first mask."
    ),
}
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseRules:
    """How often the newest mask is looked for, how many poses of a stream are answered a second, and from when on an
    answer is stale.
    """

    look_s: float
    a_second: float
    stale: StaleRules


class PoseServicer(pose_service_pb2_grpc.PoseServiceServicer):
    """Streams of poses of all sessions on one event loop; a pose takes it for well under a millisecond."""

    def __init__(self, sessions: Path, rules: PoseRules, clock: Clock, metrics: Metrics) -> None:
        """`sessions`: the folder that holds a folder a session."""
        self._sessions = sessions
        self._rules = rules
        self._clock = clock
        self._metrics = metrics

    async def TrackPoses(  # noqa: N802 - the name is the proto's
        self, requests: AsyncIterator[Request], context: Context
    ) -> AsyncIterator[Response]:
        """Answers until the client ends the stream or the session is over."""
        try:
            require_navigation(context)
            watched: Watched | None = None
            pace = Pace(self._rules.a_second)
            async for request in requests:
                if watched is None:
                    folder = self._sessions / folder_name(request.resume_token)
                    watched = Watched(folder, self._rules.look_s, self._clock.monotonic)
                if (wait_s := pace.wait_s(self._clock.monotonic())) > 0:
                    await asyncio.sleep(wait_s)
                yield self._answered(request, watched)
        except Fault as fault:
            await abort(context, fault)

    def _answered(self, request: Request, watched: Watched) -> Response:
        begun = time.perf_counter()
        moment = Moment(monotonic=self._clock.monotonic(), pose_age_s=self._age_of(request))
        said = answer(request.pose, watched.mask(), moment, self._rules.stale)
        response = response_of(request.number, said)
        result = "refused" if said.reason else "stale" if said.stale else "fresh"
        self._metrics.poses.labels(result).inc()
        self._metrics.pose_seconds.observe(time.perf_counter() - begun)
        return response

    def _age_of(self, request: Request) -> float | None:
        if not request.HasField("acquired_at"):
            return None
        acquired = request.acquired_at.seconds + request.acquired_at.nanos / _NANO
        return self._clock.now().timestamp() - acquired


def response_of(number: int, said: PoseAnswer) -> Response:
    """The message of an answer."""
    response = Response(
        number=number,
        tissue=said.tissue,
        tumour_mm=said.tumour_mm,
        enhancing_mm=said.enhancing_mm,
        cavity_mm=said.cavity_mm,
        infiltration=said.infiltration,
        uncertainty=said.uncertainty,
        stale=bool(said.stale),
        stale_causes=[_CAUSES[f"STALE_CAUSE_{cause}"] for cause in said.stale],
        series_digest=said.series_digest,
    )
    if said.mask_age_s is not None:
        response.mask_age.FromNanoseconds(int(said.mask_age_s * _NANO))
    if said.reason is not None:
        response.limit.CopyFrom(_LIMITS[said.reason])
    return response
