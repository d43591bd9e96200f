"""A pod that is to stop waits for its sessions, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from services.core.runtime.health import HealthServer
from services.core.telemetry.metrics import Metrics
from services.navigation.linger import SETTLE_S, linger, open_sessions

pytestmark = pytest.mark.unit


class Time:
    """A clock that a sleep moves on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def address(metrics: Metrics) -> Iterator[str]:
    with HealthServer(metrics.registry, {}, "127.0.0.1", 0) as server:
        yield server.address


def test_it_waits_while_sessions_are_open_and_goes_when_the_last_has_ended() -> None:
    counts, clock = iter([2, 2, 1, 0]), Time()
    assert linger(lambda: next(counts), clock, clock.sleep, 3600)
    assert not list(counts)


def test_without_sessions_it_only_waits_until_nobody_is_sent_here() -> None:
    clock = Time()
    assert linger(lambda: 0, clock, clock.sleep, 3600)
    assert clock.passed == SETTLE_S


def test_it_does_not_wait_for_ever() -> None:
    clock = Time()
    assert not linger(lambda: 1, clock, clock.sleep, 60)
    assert clock.passed < 70


def test_a_process_that_has_died_is_not_waited_for() -> None:
    clock = Time()
    assert linger(lambda: None, clock, clock.sleep, 3600)
    assert clock.passed < 20


def test_one_look_that_gets_no_answer_does_not_end_the_wait() -> None:
    counts, clock = iter([1, None, 1, 0]), Time()
    assert linger(lambda: next(counts), clock, clock.sleep, 3600)


def test_it_reads_what_the_process_tells_prometheus(metrics: Metrics, address: str) -> None:
    metrics.navigation_sessions.set(3)
    assert open_sessions(address) == 3
    metrics.navigation_sessions.set(0)
    assert open_sessions(address) == 0


def test_a_port_that_nobody_answers_says_nothing(address: str) -> None:
    host = address.rpartition(":")[0]
    assert open_sessions(f"{host}:1") is None
