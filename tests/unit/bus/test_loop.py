"""What the consumer loop does with a message, on the real embedded log, with a clock that a test can turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from services.core.bus.errors import BusUnavailable
from services.core.bus.loop import RetryPolicy
from services.core.bus.port import Record
from services.core.bus.redrive import dead_letters, redrive
from services.core.bus.topics import dead_topic, retry_topic
from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.core.runtime.failpoints import arm
from services.core.runtime.steps import Drained
from tests.servers.bus_site import until
from tests.unit.bus.loop_bench import GROUP, QUICK, ROUTINE, STAT, Bench

pytestmark = pytest.mark.unit


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def raising(error: Exception, times: int | None = None) -> Callable[[Record], None]:
    left = [times]

    def work(_: Record) -> None:
        if left[0] is None or left[0] > 0:
            left[0] = None if left[0] is None else left[0] - 1
            raise error

    return work


def waiting(event: threading.Event) -> Callable[[Record], None]:
    def work(_: Record) -> None:
        event.wait(20)

    return work


def test_a_message_is_worked_once_and_committed(bench: Bench) -> None:
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: bool(bench.worked), "it is worked")
        until(lambda: bench.backlog() == 0, "it is committed")
    with bench.running(bench.loop()):
        bench.send(b"2")
        until(lambda: bench.backlog() == 0, "the next one is committed")

    assert bench.values() == [b"1", b"2"]


def test_stat_messages_overtake_the_routine_backlog(bench: Bench) -> None:
    for number in range(4):
        bench.send(f"routine {number}".encode())
    gate = threading.Event()
    bench.behave = waiting(gate)
    with bench.running(bench.loop()):
        until(lambda: len(bench.worked) == 1, "the first routine message is in work")
        bench.send(b"stat", STAT)
        gate.set()
        until(lambda: bench.backlog() == 0, "all is done")

    assert bench.values()[:2] == [b"routine 0", b"stat"]


def test_a_transient_failure_is_tried_again_here_at_first(bench: Bench) -> None:
    bench.behave = raising(Transient("BUSY", "busy"), times=2)
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: len(bench.worked) == 3 and bench.backlog() == 0, "the third try succeeds")

    assert not bench.kept(retry_topic(ROUTINE))


def test_then_it_goes_to_the_retry_topic_as_it_was_and_others_pass_it(bench: Bench) -> None:
    def work(record: Record) -> None:
        if record.value == b"bad":
            raise Transient("BUSY", "busy")

    bench.behave = work
    bench.send(b"bad", headers={"traceparent": "t", "request_id": "r"})
    bench.send(b"good")
    with bench.running(bench.loop()):
        until(lambda: b"good" in bench.values(), "the next message is worked")
        until(lambda: bench.backlog() == 1, "only the retry is left")
        (retry,) = bench.kept(retry_topic(ROUTINE))
        assert (retry.key, retry.value) == ("k", b"bad")
        assert (retry.headers["traceparent"], retry.headers["request_id"], retry.headers["retries"]) == ("t", "r", "1")
        assert bench.values().count(b"bad") == 3
        bench.clock.ahead += timedelta(seconds=11)
        until(lambda: bench.values().count(b"bad") > 3, "it is tried again when it is due")
    assert bench.metric("glioserve_retries_total", stage="segment", lane="routine") >= 1


def test_a_retry_that_is_not_due_holds_nobody_up(bench: Bench) -> None:
    due = bench.clock.now() + timedelta(hours=1)
    bench.send(b"later", retry_topic(STAT), headers={"not_before": due.isoformat()})
    bench.send(b"now")
    with bench.running(bench.loop()):
        until(lambda: b"now" in bench.values(), "the other lane goes on")
        bench.clock.ahead += timedelta(hours=2)
        until(lambda: b"later" in bench.values(), "it comes when it is due")


def test_when_the_budget_of_time_is_used_up_the_message_is_dead(bench: Bench) -> None:
    bench.behave = raising(Transient("BUSY", "still busy", "wait"))
    bench.send(b"1", headers={"traceparent": "t"})
    with bench.running(bench.loop()):
        until(lambda: len(bench.kept(retry_topic(ROUTINE))) == 1, "it goes to the retry topic")
        bench.clock.ahead += timedelta(seconds=QUICK.budget_s + 1)
        until(lambda: len(bench.dead) == 1, "it is given up")
        until(lambda: bench.backlog() == 0, "it is committed")

    (letter,) = bench.kept(dead_topic(ROUTINE))
    assert letter.value == b"1"
    assert letter.headers["origin"] == f"{retry_topic(ROUTINE)}/{letter.partition}/0"
    assert letter.headers["reason_code"] == "BUSY"
    assert "still busy" in letter.headers["reason"]
    record, error = bench.dead[0]
    assert (record.value, error.code, error.advice) == (b"1", "BUSY", "wait")


@pytest.mark.parametrize("error", [Permanent("BROKEN", "no use"), Refused("NO", "not this")])
def test_what_cannot_succeed_goes_to_the_dead_letters_at_once(bench: Bench, error: GlioServeError) -> None:
    bench.behave = raising(error, times=1)
    bench.send(b"\x00bad", key="p")
    bench.send(b"good", key="p")
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "both are done")

    (letter,) = bench.kept(dead_topic(ROUTINE))
    assert (letter.key, letter.value, letter.headers["reason_code"]) == ("p", b"\x00bad", error.code)
    assert bench.values() == [b"\x00bad", b"good"]
    assert [(record.value, told.code) for record, told in bench.dead] == [(b"\x00bad", error.code)]
    assert bench.metric("glioserve_dead_letters_total", topic=dead_topic(ROUTINE), code=error.code) == 1


def test_the_failed_outcome_is_told_before_the_message_is_committed(bench: Bench) -> None:
    backlogs: list[int] = []
    bench.behave = raising(Permanent("BROKEN", "no use"))
    bench.on_dead = lambda _: backlogs.append(bench.backlog())
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "it is committed")

    assert backlogs == [1]


def test_telling_the_failed_outcome_is_repeated_until_it_succeeds(bench: Bench) -> None:
    bench.behave = raising(Permanent("BROKEN", "no use"))
    bench.on_dead = raising(BusUnavailable("down"), times=3)
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: len(bench.dead) == 1 and bench.backlog() == 0, "it was told")

    assert len(bench.kept(dead_topic(ROUTINE))) == 1


def test_an_error_while_telling_does_not_stop_the_lane(bench: Bench) -> None:
    bench.behave = raising(Permanent("BROKEN", "no use"), times=1)
    bench.on_dead = raising(KeyError("bug"))
    bench.send(b"1")
    bench.send(b"2")
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "both are done")

    assert len(bench.kept(dead_topic(ROUTINE))) == 1


def test_unexpected_errors_in_a_row_pull_the_brake(bench: Bench) -> None:
    bench.behave = raising(ZeroDivisionError("patient name in here"))
    for number in range(9):
        bench.send(str(number).encode())
    loop = bench.loop()
    with bench.running(loop):
        until(lambda: loop.braked, "the brake")
        assert loop.alive()
        assert bench.metric("glioserve_dead_letter_brake", group=GROUP) == 1
        until(lambda: bench.backlog() == 4, "what it had worked is committed, the rest stays")
    letters = bench.kept(dead_topic(ROUTINE))
    assert len(letters) == QUICK.brake_after
    assert {letter.headers["reason_code"] for letter in letters} == {"UNEXPECTED"}
    assert "patient" not in str([letter.headers for letter in letters])

    bench.behave = lambda _: None
    healthy = bench.loop()
    with bench.running(healthy):
        until(lambda: bench.backlog() == 0, "a new process goes on with the rest")
    assert not healthy.braked


def test_classed_errors_never_pull_the_brake_and_a_success_releases_it(bench: Bench) -> None:
    def work(record: Record) -> None:
        if record.value == b"bug":
            raise ZeroDivisionError
        if record.value == b"bad":
            raise Permanent("BROKEN", "no use")

    bench.behave = work
    for value in [b"bad"] * 8 + [b"bug"] * 4 + [b"fine"] + [b"bug"] * 4:
        bench.send(value)
    loop = bench.loop()
    with bench.running(loop):
        until(lambda: bench.backlog() == 0, "all is done")
        assert not loop.braked

    assert len(bench.kept(dead_topic(ROUTINE))) == 16


def test_a_drained_message_stays_for_another_process(bench: Bench) -> None:
    def drain(_: Record) -> None:
        bench.stop.wait(20)
        raise Drained

    bench.behave = drain
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: len(bench.worked) == 1, "it is in work")
    assert bench.backlog() == 1
    assert not bench.kept(retry_topic(ROUTINE))
    assert not bench.kept(dead_topic(ROUTINE))

    bench.behave = lambda _: None
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "another process takes it")
    assert bench.values() == [b"1", b"1"]


def test_work_that_ends_after_the_stop_is_still_committed(bench: Bench) -> None:
    bench.behave = waiting(bench.stop)
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: len(bench.worked) == 1, "it is in work")

    assert bench.backlog() == 0


def test_work_that_does_not_end_is_given_up_after_the_drain_time(bench: Bench) -> None:
    gate = threading.Event()
    bench.behave = waiting(gate)
    bench.send(b"1")
    with bench.running(bench.loop(policy=RetryPolicy(drain_s=0.3))):
        until(lambda: len(bench.worked) == 1, "it is in work")
    gate.set()

    assert bench.backlog() == 1


def test_a_bus_that_is_down_for_the_output_costs_no_message_and_no_budget(bench: Bench) -> None:
    bench.behave = raising(BusUnavailable("down"), times=20)
    bench.send(b"1")
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "it is done once the bus is back")

    assert len(bench.worked) == 21
    assert not bench.kept(retry_topic(ROUTINE))
    assert not bench.kept(dead_topic(ROUTINE))


def test_without_retry_topics_a_message_is_tried_in_its_place(bench: Bench) -> None:
    bench.behave = raising(Transient("BUSY", "busy"), times=10)
    bench.send(b"1")
    bench.send(b"2")
    with bench.running(bench.loop(retry=False)):
        until(lambda: bench.backlog() == 0, "both are done")

    assert bench.values() == [b"1"] * 11 + [b"2"]


def test_without_retry_topics_the_budget_ends_in_the_dead_letters_too(bench: Bench) -> None:
    def work(_: Record) -> None:
        bench.clock.ahead += timedelta(seconds=200)
        raise Transient("BUSY", "busy")

    bench.behave = work
    bench.send(b"1")
    with bench.running(bench.loop(retry=False)):
        until(lambda: len(bench.dead) == 1, "it is given up")

    assert len(bench.worked) == 6


def test_a_failpoint_after_the_commit_finds_it_committed(bench: Bench) -> None:
    arm(bench.home, "stage.after_commit", ["transient"])
    bench.send(b"1")
    bench.send(b"2")
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "both are done")

    assert bench.values() == [b"1", b"2"]
    assert not (bench.home / "run" / "failpoints" / "stage.after_commit").exists()


def test_lag_is_reported_while_a_message_is_in_work(bench: Bench) -> None:
    bench.behave = waiting(bench.stop)
    bench.send(b"1")
    bench.clock.ahead += timedelta(seconds=60)
    with bench.running(bench.loop()):
        until(lambda: bench.metric("glioserve_lag_seconds", topic=ROUTINE) >= 60, "the lag is seen")
        assert bench.metric("glioserve_lag_seconds", topic=STAT) == 0


def test_a_loop_is_alive_only_while_it_runs(bench: Bench) -> None:
    loop = bench.loop()
    assert not loop.alive()
    with bench.running(loop):
        until(loop.alive, "it runs")
    assert not loop.alive()


def test_dead_letters_go_back_when_an_operator_says_so(bench: Bench) -> None:
    bench.behave = raising(Permanent("BROKEN", "no use"))
    for name in ("r1", "r2"):
        bench.send(name.encode(), headers={"request_id": name, "traceparent": "t"})
    with bench.running(bench.loop()):
        until(lambda: len(bench.dead) == 2 and bench.backlog() == 0, "both are dead")
    bench.behave = lambda _: None
    bench.worked.clear()

    assert [letter.request_id for letter in redrive(bench.bus, ROUTINE)] == ["r1", "r2"]
    assert bench.backlog() == 0
    (sent,) = redrive(bench.bus, dead_topic(ROUTINE), request_ids={"r2"}, dry_run=False)
    assert (sent.request_id, sent.reason_code, sent.target) == ("r2", "BROKEN", ROUTINE)
    with bench.running(bench.loop()):
        until(lambda: bench.backlog() == 0, "it is worked")

    (again,) = bench.worked
    assert (again.key, again.value, again.headers) == ("k", b"r2", {"request_id": "r2", "traceparent": "t"})
    assert [letter.request_id for letter in redrive(bench.bus, ROUTINE)] == ["r1"]
    with closing(bench.bus.admin()) as admin:
        assert [letter.redriven for letter in dead_letters(admin, ROUTINE)] == [False, True]
