"""The ward as a discrete-event simulation: lanes, stage pods, the Triton pool, and the chart's scaling rules.

Pods of a cluster have their processor to themselves. On one machine the stages share it: so many `jobs` at full speed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import simpy

from loadtests.capacity.chart import DOWN_EVERY_S, UP_EVERY_S, UP_PODS, Chart, Rule
from loadtests.capacity.demand import Study
from loadtests.capacity.measured import STAGES, Measured

Steps: TypeAlias = "Generator[simpy.Event, Any, Any]"
TURN_S = 0.2
URGENT, ROUTINE = 0, 1


@dataclass(slots=True)
class Pool:
    """Pods of one component: urgent requests first, one request a pod at a time."""

    env: simpy.Environment
    rule: Rule
    down_s: float
    ready: int = 0
    busy: int = 0
    starting: int = 0
    queues: tuple[deque[simpy.Event], deque[simpy.Event]] = field(default_factory=lambda: (deque(), deque()))
    most_ready: int = 0
    low_since: float | None = None
    last_down: float = -1e9

    def __post_init__(self) -> None:
        self.ready = self.most_ready = self.rule.least

    @property
    def load(self) -> float:
        """Requests that are not done, as the lag of a consumer group counts them."""
        return self.busy + sum(map(len, self.queues))

    def take(self, urgent: bool) -> simpy.Event:
        """Triggers once a pod works for the caller."""
        turn = self.env.event()
        self.queues[URGENT if urgent else ROUTINE].append(turn)
        self._hand_out()
        return turn

    def give(self) -> None:
        """The pod is free again."""
        self.busy -= 1
        self._hand_out()

    def scale(self, poll_s: float) -> Steps:
        """Looks at the load for ever, as KEDA does."""
        while True:
            yield self.env.timeout(poll_s)
            wanted = self._wanted()
            have = self.ready + self.starting
            if wanted > have:
                self.low_since = None
                for _ in range(min(wanted - have, max(1, round(UP_PODS * poll_s / UP_EVERY_S)))):
                    self.env.process(self._start())
            elif wanted < self.ready and not self.starting:
                self._shrink()
            else:
                self.low_since = None

    def _wanted(self) -> int:
        """The largest wish of its triggers: an urgent request asks for a pod of its own."""
        return max(self.rule.wanted(self.load), min(self.rule.most, len(self.queues[URGENT])))

    def _start(self) -> Steps:
        self.starting += 1
        yield self.env.timeout(self.rule.starts_s)
        self.starting -= 1
        self.ready += 1
        self.most_ready = max(self.most_ready, self.ready)
        self._hand_out()

    def _shrink(self) -> None:
        now = self.env.now
        self.low_since = now if self.low_since is None else self.low_since
        if now - self.low_since >= self.down_s and now - self.last_down >= DOWN_EVERY_S:
            self.ready -= 1  # a pod that works ends its request first: `_hand_out` waits for it
            self.last_down = now

    def _hand_out(self) -> None:
        while self.busy < self.ready and any(self.queues):
            self.busy += 1
            next(queue for queue in self.queues if queue).popleft().succeed()


@dataclass(slots=True, kw_only=True)
class Ward:
    """One run. `latencies`: seconds from arrival to the last output, by lane."""

    measured: Measured
    chart: Chart
    jobs: float | None = None
    seed: int = 1
    latencies: dict[str, list[float]] = field(default_factory=lambda: {"stat": [], "routine": []})
    pools: dict[str, Pool] = field(default_factory=dict)

    def run(self, studies: Sequence[Study]) -> None:
        """Runs until every study has its result."""
        env = simpy.Environment()
        chart = self.chart
        self.pools = {stage: Pool(env, rule, chart.down_s) for stage, rule in chart.stages.items()}
        self.pools["triton"] = Pool(env, chart.triton, chart.down_s)
        for pool in self.pools.values():
            if pool.rule.most > pool.rule.least:
                env.process(pool.scale(chart.poll_s))
        rng = random.Random(self.seed)
        compute = _alone(env) if self.jobs is None else _shared(env, self.jobs)
        left = [env.process(self._study(env, study, rng, compute)) for study in studies]
        env.run(simpy.AllOf(env, left) if left else None)

    def _study(self, env: simpy.Environment, study: Study, rng: random.Random, compute: Compute) -> Steps:
        yield env.timeout(study.at_s)
        for stage in STAGES:
            pool, seconds = self.pools[stage], self.measured.stages[stage].draw(rng)
            yield pool.take(study.urgent)
            if stage == "segment":
                share = self.measured.triton_s / self.measured.stages[stage].mean
                yield env.process(compute(seconds * (1 - share)))
                yield self.pools["triton"].take(study.urgent)
                yield env.process(compute(seconds * share))
                self.pools["triton"].give()
            else:
                yield env.process(compute(seconds))
            pool.give()
        self.latencies["stat" if study.urgent else "routine"].append(env.now - study.at_s)


Compute: TypeAlias = "Callable[[float], Steps]"


def _alone(env: simpy.Environment) -> Compute:
    def compute(seconds: float) -> Steps:
        yield env.timeout(seconds)

    return compute


def _shared(env: simpy.Environment, jobs: float) -> Compute:
    """Processor sharing: so many jobs run at full speed; more of them share it evenly. Speed changes at turns."""
    active = 0

    def compute(seconds: float) -> Steps:
        nonlocal active
        active += 1
        left = seconds
        while left > 1e-9:
            turn = min(TURN_S, left)
            yield env.timeout(turn * max(1.0, active / jobs))
            left -= turn
        active -= 1

    return compute
