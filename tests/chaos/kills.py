"""Seeded kills of a running stack: who dies when, and never so that one run crashes more than twice."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from services.cli.supervisor import STAGES, WARD
from services.core.runtime.home import Home
from tests.servers.kafka import KafkaBroker
from tests.system.stack import Stack, until

PROCESSES = (*WARD, "supervisor")
LONGEST_WAIT_S = 9.0
RUNS_STAGES = frozenset({*STAGES, "supervisor"})
CRASHES_ALLOWED = 2
"""A third crash of one run sends it to the dead letters: that is the product's rule, not a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """So many seconds after the kill before, this process dies; a broker stays away for `away_s`."""

    victim: str
    after_s: float
    away_s: float


def schedule(seed: int, victims: Sequence[str], kills: int, each_at_least: int) -> list[Kill]:
    """Kills in random order, every victim at least so many times. The same seed gives the same kills."""
    rng = random.Random(seed)
    chosen = [victim for victim in victims for _ in range(each_at_least)]
    chosen += rng.choices(victims, k=kills - len(chosen))
    rng.shuffle(chosen)
    return [Kill(victim=v, after_s=rng.uniform(0.5, LONGEST_WAIT_S), away_s=rng.uniform(0, 3)) for v in chosen]


def carry_out(kill: Kill, stack: Stack, broker: KafkaBroker | None) -> None:
    """SIGKILL to the victim; the supervisor and the broker are then started again."""
    if kill.victim == "kafka":
        assert broker is not None
        broker.kill()
        stack.pause(kill.away_s)
        broker.start()
        return
    until(lambda: _killed(kill.victim, stack), 120, lambda: f"{kill.victim}: {_crashes(stack.home)}")
    if kill.victim == "supervisor":
        stack.wait_gone()
        stack.start()


def _killed(victim: str, stack: Stack) -> bool:
    """Kills, unless a run would crash once too often; it is frozen while that is found out."""
    process = stack.supervisor if victim == "supervisor" else stack.process(victim)
    frozen = [*process.children(), process] if victim == "supervisor" else [process]
    with _frozen(frozen):
        if victim in RUNS_STAGES and any(count > CRASHES_ALLOWED for count in _crashes(stack.home).values()):
            return False
        process.kill()
    return True


@contextmanager
def _frozen(processes: Sequence[psutil.Process]) -> Iterator[None]:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def _crashes(home: Home) -> dict[str, int]:
    """Starts without an end of each run that has no manifest: how often it crashed if its process died now."""
    names = {path.name for path in (home.blobs / "named" / "runs").glob("*")}
    starts = [name for name in names if ".attempt-" in name and not name.endswith(".ended")]
    counts = Counter(name.partition(".attempt-")[0] for name in starts if f"{name}.ended" not in names)
    return {run: count for run, count in counts.items() if run not in names}
