"""What only the embedded log promises: leases, hand-over, retention, exact times."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.core.bus.embedded import EmbeddedBus
from services.core.bus.embedded_consumer import describe
from services.core.bus.errors import BusUnavailable, Fenced
from services.core.bus.topics import DEAD_RETENTION, HEADER_REQUEST_ID, RETENTION
from services.core.contracts.errors import GlioServeError, Permanent
from tests.servers.bus_site import receive, until, values

pytestmark = pytest.mark.unit
ONE_KEY_PER_PARTITION = ("k0", "k1", "k4", "k5")
T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


class HandClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.passed = timedelta(0)

    def now(self) -> datetime:
        return T0 + self.passed

    def monotonic(self) -> float:
        return 1000.0 + self.passed.total_seconds()

    def turn(self, **by: float) -> None:
        self.passed += timedelta(**by)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus" / "log.sqlite"


@pytest.fixture
def bus(path: Path, clock: HandClock) -> EmbeddedBus:
    return EmbeddedBus(path, clock, lease_s=5.0)


def send(bus: EmbeddedBus, topic: str, *sent: str, key: str = "k", request: str | None = None) -> None:
    with closing(bus.producer()) as producer:
        for value in sent:
            producer.send(topic, key, value.encode(), {HEADER_REQUEST_ID: request} if request else None)


def owners(path: Path, group: str) -> list[int]:
    with closing(sqlite3.connect(path)) as db:
        return sorted(len(slots) for slots in describe(db, group).values())


def test_a_member_that_stops_polling_loses_its_partitions_and_its_late_commit_is_fenced(
    bus: EmbeddedBus, clock: HandClock
) -> None:
    send(bus, "t", "0", "1")
    with closing(bus.consumer("g", ["t"])) as sleeper:
        (held,) = receive(sleeper, 1, commit=False)
        clock.turn(seconds=5.1)
        with closing(bus.consumer("g", ["t"])) as other:
            assert values(receive(other, 2)) == ["0", "1"]
            with pytest.raises(Fenced):
                sleeper.commit(held)
            assert not sleeper.poll(0.1)


def test_a_sleeper_that_nobody_replaced_may_still_commit(bus: EmbeddedBus, clock: HandClock) -> None:
    send(bus, "t", "0", "1")
    with closing(bus.consumer("g", ["t"])) as sleeper, closing(bus.admin()) as admin:
        (held,) = receive(sleeper, 1, commit=False)
        clock.turn(minutes=5)
        sleeper.pause(["t"])
        sleeper.poll(0)
        sleeper.commit(held)
        sleeper.resume(["t"])
        assert admin.backlog("g", "t") == 1
        assert values(receive(sleeper, 1)) == ["1"]


def test_a_newcomer_waits_for_a_partition_until_what_is_in_hand_is_committed(
    bus: EmbeddedBus, path: Path, clock: HandClock
) -> None:
    for value in ("0", "1"):
        clock.turn(seconds=0.1)
        for key in ONE_KEY_PER_PARTITION:
            send(bus, "t", value, key=key)
    with closing(bus.consumer("g", ["t"])) as first:
        in_hand = receive(first, 4, commit=False)
        assert {record.partition for record in in_hand} == {0, 1, 2, 3}
        first.pause(["t"])
        with closing(bus.consumer("g", ["t"])) as second:
            for _ in range(5):
                assert not first.poll(0.05)
                assert not second.poll(0.05)
            for record in in_hand:
                first.commit(record)
            assert values(receive(second, 2)) == ["1", "1"]
            assert owners(path, "g") == [2, 2]
            first.resume(["t"])
            assert values(receive(first, 2)) == ["1", "1"]


def test_a_lease_from_before_the_machine_was_restarted_counts_as_ended(path: Path, clock: HandClock) -> None:
    clock.turn(days=30)
    before = EmbeddedBus(path, clock).consumer("g", ["t"])
    clock.turn(days=-30)  # the monotonic clock starts anew
    send(EmbeddedBus(path, clock), "t", "0")

    with closing(EmbeddedBus(path, clock).consumer("g", ["t"])) as after:
        assert values(receive(after, 1)) == ["0"]
    before.close()


def test_the_admin_knows_to_the_microsecond_when_a_request_was_passed(bus: EmbeddedBus, clock: HandClock) -> None:
    send(bus, "t", "0", request="r0")
    send(bus, "t", "1", request="r1")
    with closing(bus.consumer("g", ["t"])) as consumer, closing(bus.admin()) as admin:
        clock.turn(seconds=3)
        receive(consumer, 1)
        clock.turn(seconds=4)
        receive(consumer, 1)
        clock.turn(hours=1)

        assert admin.position_passed("g", "t", "r0") == T0 + timedelta(seconds=3)
        assert admin.position_passed("g", "t", "r1") == T0 + timedelta(seconds=7)


def test_old_records_go_once_all_groups_have_committed_them(bus: EmbeddedBus, clock: HandClock) -> None:
    send(bus, "t", "old done")
    send(bus, "t", "old open")
    send(bus, "t.dead", "old letter")
    with closing(bus.consumer("g", ["t"])) as consumer, closing(bus.admin()) as admin:
        receive(consumer, 1)
        consumer.pause(["t"])
        clock.turn(days=RETENTION.days + 1)
        send(bus, "t", "new")
        consumer.poll(0)

        assert values(list(admin.browse("t"))) == ["old open", "new"]
        assert values(list(admin.browse("t.dead"))) == ["old letter"]
        clock.turn(days=DEAD_RETENTION.days)
        consumer.poll(0)
        assert not list(admin.browse("t.dead"))
        consumer.resume(["t"])
        assert values(receive(consumer, 2)) == ["old open", "new"]


def test_records_that_a_second_group_has_not_read_stay(bus: EmbeddedBus, clock: HandClock) -> None:
    send(bus, "t", "wanted")
    with closing(bus.consumer("fast", ["t"])) as fast, closing(bus.consumer("slow", ["t"])) as slow:
        receive(fast, 1)
        clock.turn(days=RETENTION.days + 1)
        fast.poll(0)

        assert values(receive(slow, 1)) == ["wanted"]


def test_a_full_disk_is_an_answer_and_loses_nothing(bus: EmbeddedBus) -> None:
    with closing(bus.producer()) as producer, closing(bus.admin()) as admin:
        producer.send("t", "k", b"kept")
        pages = producer._db.execute("PRAGMA page_count").fetchone()[0]
        producer._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(BusUnavailable, match="full"):
            producer.send("t", "k", b"x" * 100_000)
        producer._db.execute("PRAGMA max_page_count = 100000")
        producer.send("t", "k", b"after")

        assert values(list(admin.browse("t"))) == ["kept", "after"]


def test_a_log_of_another_version_is_refused(path: Path, bus: EmbeddedBus) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(Permanent, match="version 99"):
        EmbeddedBus(path)


def test_several_openers_at_once_create_one_log(path: Path) -> None:
    failures: list[Exception] = []

    def open_and_send(number: int) -> None:
        try:
            with closing(EmbeddedBus(path).producer()) as producer:
                producer.send("t", f"k{number}", b"x")
        except GlioServeError as error:
            failures.append(error)

    threads = [threading.Thread(target=open_and_send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    with closing(EmbeddedBus(path).admin()) as admin:
        assert len(list(admin.browse("t"))) == 8


def test_one_producer_serves_several_threads(path: Path) -> None:
    bus = EmbeddedBus(path)
    with closing(bus.producer()) as producer:
        threads = [threading.Thread(target=_send_many, args=(producer.send, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with closing(bus.admin()) as admin:
        records = list(admin.browse("t"))
    assert len(records) == 40
    for key in {record.key for record in records}:
        assert [record.value for record in records if record.key == key] == [str(n).encode() for n in range(10)]


def _send_many(send: Callable[[str, str, bytes], None], number: int) -> None:
    for count in range(10):
        send("t", f"k{number}", str(count).encode())


def test_a_waiting_poll_costs_little_and_answers_soon(path: Path) -> None:
    bus = EmbeddedBus(path)
    with closing(bus.producer()) as producer, closing(bus.consumer("g", ["t"])) as consumer:
        used, began = time.process_time(), time.monotonic()
        assert not consumer.poll(2.0)
        assert time.process_time() - used < 0.2 * (time.monotonic() - began)
        sent = threading.Timer(0.2, lambda: producer.send("t", "k", b"x"))
        sent.start()
        until(lambda: bool(consumer.poll(5.0)), "the record comes")
        sent.join()
