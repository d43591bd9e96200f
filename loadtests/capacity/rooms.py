"""Operating rooms as a discrete-event simulation: pods with a few sessions each, and warm spares."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import simpy

from loadtests.capacity.chart import DOWN_EVERY_S, UP_EVERY_S, UP_PODS, Chart
from loadtests.capacity.demand import Session
from loadtests.capacity.measured import Measured

Steps: TypeAlias = "Generator[simpy.Event, Any, Any]"
AGAIN_S = 5.0
"""A client that finds no room tries again after so long."""


@dataclass(slots=True, eq=False)
class _Pod:
    """Its sessions, and its compute: one series at a time."""

    compute: simpy.Resource
    sessions: int = 0


@dataclass(slots=True, kw_only=True)
class Rooms:
    """One run. Seconds: from the start of a session to its welcome; from a series' last byte to its masks."""

    measured: Measured
    chart: Chart
    seed: int = 1
    welcome_s: list[float] = field(default_factory=list)
    coarse_s: list[float] = field(default_factory=list)
    final_s: list[float] = field(default_factory=list)
    most_pods: int = 0

    def run(self, sessions: Sequence[Session]) -> None:
        """Runs until every session has ended. Raises ValueError without measured series."""
        if not self.measured.final_s:
            raise ValueError("no theatre series were measured")
        env = simpy.Environment()
        rng = random.Random(self.seed)
        pods = [_Pod(simpy.Resource(env)) for _ in range(self.chart.theatre.least)]
        self.most_pods = len(pods)
        env.process(self._scale(env, pods))
        left = [env.process(self._session(env, session, pods, rng)) for session in sessions]
        env.run(simpy.AllOf(env, left) if left else None)

    def _session(self, env: simpy.Environment, session: Session, pods: list[_Pod], rng: random.Random) -> Steps:
        yield env.timeout(session.at_s)
        while (pod := self._free(pods)) is None:
            yield env.timeout(AGAIN_S)
        pod.sessions += 1
        self.welcome_s.append(env.now - session.at_s)
        for moment in session.series_s:
            if moment > env.now:
                yield env.timeout(moment - env.now)
                env.process(self._series(env, pod, rng))
        yield env.timeout(max(0.0, session.ends_s - env.now))
        pod.sessions -= 1

    def _free(self, pods: Sequence[_Pod]) -> _Pod | None:
        """The fullest pod with room: empty ones can go then."""
        with_room = [pod for pod in pods if pod.sessions < self.chart.sessions]
        return max(with_room, key=lambda pod: pod.sessions, default=None)

    def _series(self, env: simpy.Environment, pod: _Pod, rng: random.Random) -> Steps:
        began = env.now
        which = rng.randrange(len(self.measured.final_s))
        with pod.compute.request() as turn:
            yield turn
            coarse = self.measured.coarse_s[which]
            yield env.timeout(coarse)
            self.coarse_s.append(env.now - began)
            yield env.timeout(self.measured.final_s[which] - coarse)
        self.final_s.append(env.now - began)

    def _scale(self, env: simpy.Environment, pods: list[_Pod]) -> Steps:
        chart, starting, low_since, last_down = self.chart, [0], None, -1e9

        def start() -> Steps:
            starting[0] += 1
            yield env.timeout(chart.theatre.starts_s)
            starting[0] -= 1
            pods.append(_Pod(simpy.Resource(env)))
            self.most_pods = max(self.most_pods, len(pods))

        while True:
            yield env.timeout(chart.poll_s)
            open_sessions = sum(pod.sessions for pod in pods)
            wanted = chart.theatre.wanted(open_sessions + chart.spare * chart.sessions)
            have = len(pods) + starting[0]
            if wanted > have:
                low_since = None
                for _ in range(min(wanted - have, max(1, round(UP_PODS * chart.poll_s / UP_EVERY_S)))):
                    env.process(start())
                continue
            low_since = None if wanted >= len(pods) else env.now if low_since is None else low_since
            long_enough = low_since is not None and env.now - low_since >= chart.theatre_down_s
            empty = next((pod for pod in pods if not pod.sessions), None)
            if long_enough and empty is not None and env.now - last_down >= DOWN_EVERY_S:
                pods.remove(empty)  # the deletion cost of a pod is its open sessions
                last_down = env.now
