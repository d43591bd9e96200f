"""Rule 7 on the ward's side: a worker waits while the theatre computes, counts it, and still stops when told to."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.core.runtime.steps import Drained, WardCheckpoint

pytestmark = pytest.mark.unit


@contextmanager
def theatre(lock: Path) -> Iterator[Callable[[], None]]:
    """The lock as navigation holds it; gives what ends the holding."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield lambda: fcntl.flock(handle, fcntl.LOCK_UN)


def test_without_a_theatre_nothing_is_waited_for_or_counted(tmp_path: Path) -> None:
    waits: list[float] = []
    WardCheckpoint(tmp_path / "theatre.lock", threading.Event(), on_yield=waits.append)()
    assert waits == []


def test_a_worker_waits_until_the_theatre_is_done_and_counts_it(tmp_path: Path) -> None:
    waits: list[float] = []
    lock = tmp_path / "theatre.lock"
    with theatre(lock) as done:

        def counted(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                done()

        WardCheckpoint(lock, threading.Event(), probe_interval_s=0.01, on_yield=counted)()
    assert len(waits) == 3
    assert all(seconds > 0 for seconds in waits)


def test_the_lock_is_given_back_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "theatre.lock"
    WardCheckpoint(lock, threading.Event())()
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    lock, stop = tmp_path / "theatre.lock", threading.Event()
    with theatre(lock):
        checkpoint = WardCheckpoint(lock, stop, probe_interval_s=0.01, on_yield=lambda _: stop.set())
        with pytest.raises(Drained):
            checkpoint()


def test_a_stop_comes_before_everything_else(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Drained):
        WardCheckpoint(tmp_path / "theatre.lock", stop)()
