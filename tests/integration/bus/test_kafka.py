"""A real Kafka that is killed, and members that lose partitions while they work."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.core.bus.errors import BusUnavailable, Fenced
from services.core.bus.kafka import KafkaBus
from services.core.bus.loop import ConsumerLoop, LoopSpec, RetryPolicy
from services.core.bus.port import Producer, Record
from services.core.contracts.errors import Permanent
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.telemetry.metrics import Metrics
from tests.servers.bus_site import Member, open_site, receive, until, values
from tests.servers.kafka import KafkaBroker

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::ResourceWarning")]
REQUESTS, OUTCOMES = "requests", "outcomes"
OUTAGE_S = 12.0
"""Longer than the session time-out: the group has forgotten its members when the broker is back."""


def test_a_loop_survives_a_killed_broker_without_loss(broker: KafkaBroker, tmp_path: Path) -> None:
    bus = KafkaBus([broker.address])
    with closing(bus.admin()) as admin:
        admin.ensure_topics([REQUESTS, f"{REQUESTS}.retry", f"{REQUESTS}.dead", OUTCOMES], 2)
    producer, output = bus.producer(), bus.producer()
    worked: list[Record] = []

    def work(record: Record) -> None:
        output.send(OUTCOMES, record.key, record.value)
        worked.append(record)

    loop = ConsumerLoop(
        bus,
        LoopSpec(group="g", topics=(REQUESTS,), retry=True),
        work=work,
        on_dead=lambda record, error: pytest.fail(f"{record} {error}"),
        clock=SystemClock(),
        metrics=Metrics(CollectorRegistry()),
        failpoints=Failpoints(tmp_path),
        policy=RetryPolicy(),
    )
    stop = threading.Event()
    threads = [
        threading.Thread(target=loop.run, args=(stop,)),
        threading.Thread(target=_send_steadily, args=(producer, 60)),
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(worked) >= 5, "work before the outage")
    broker.kill()
    _wait(OUTAGE_S)
    assert loop.alive()
    broker.start()
    threads[1].join()
    until(lambda: {record.value for record in worked} >= {str(n).encode() for n in range(60)}, "all is worked", 90.0)
    with closing(bus.admin()) as admin:
        until(lambda: admin.backlog("g", REQUESTS) == 0, "all is committed", 60.0)
        outcomes = list(admin.browse(OUTCOMES))
        assert not list(admin.browse(f"{REQUESTS}.dead"))
    stop.set()
    threads[0].join()
    producer.close()
    output.close()

    assert {int(record.value) for record in outcomes} == set(range(60))
    first_seen: dict[str, list[int]] = defaultdict(list)
    for record in worked:
        if int(record.value) not in first_seen[record.key]:
            first_seen[record.key].append(int(record.value))
    assert all(numbers == sorted(numbers) for numbers in first_seen.values())


def _send_steadily(producer: Producer, count: int) -> None:
    for number in range(count):
        while True:
            try:
                producer.send(REQUESTS, f"k{number % 3}", str(number).encode(), {"request_id": str(number)})
                break
            except BusUnavailable:
                continue
        _wait(0.1)


def _wait(seconds: float) -> None:
    """The outage itself, not a condition to wait for."""
    threading.Event().wait(seconds)


def test_acknowledged_records_survive_a_killed_broker(broker: KafkaBroker) -> None:
    bus = KafkaBus([broker.address])
    with closing(bus.admin()) as admin:
        admin.ensure_topics(["t"], 1)
    with closing(bus.producer()) as producer:
        for number in range(20):
            producer.send("t", "k", str(number).encode())
    broker.kill()
    broker.start()

    with closing(bus.consumer("g", ["t"])) as consumer:
        assert values(receive(consumer, 20)) == [str(number) for number in range(20)]


def test_a_broker_that_is_away_is_an_answer_in_bounded_time(broker: KafkaBroker) -> None:
    bus = KafkaBus([broker.address])
    with closing(bus.admin()) as admin:
        admin.ensure_topics(["t"], 1)
    with closing(bus.producer()) as producer, closing(bus.consumer("g", ["t"])) as consumer:
        producer.send("t", "k", b"before")
        (record,) = receive(consumer, 1, commit=False)
        broker.kill()
        began = time.monotonic()
        with pytest.raises(BusUnavailable):
            producer.send("t", "k", b"during")
        with pytest.raises(BusUnavailable):
            consumer.commit(record)
        with pytest.raises(BusUnavailable):
            bus.admin()
        assert time.monotonic() - began < 60
        broker.start()
        producer.send("t", "k", b"after")


def test_a_message_that_the_broker_would_never_take_is_a_permanent_error(broker: KafkaBroker) -> None:
    bus = KafkaBus([broker.address])
    with closing(bus.admin()) as admin:
        admin.ensure_topics(["t"], 1)
    with closing(bus.producer()) as producer:
        with pytest.raises(Permanent):
            producer.send("t", "k", b"x" * 3_000_000)
        producer.send("t", "k", b"small")


def test_a_commit_after_the_partition_went_to_another_member_is_fenced(broker: KafkaBroker, tmp_path: Path) -> None:
    with open_site(broker.setting, tmp_path) as site:
        (topic,) = site.topics("a", partitions=2)
        producer = site.producer()
        consumer = site.consumer([topic])
        for number in range(20):
            producer.send(topic, f"k{number}", b"x")
        in_hand = receive(consumer, 20, commit=False)
        assert {record.partition for record in in_hand} == {0, 1}
        consumer.pause([topic])
        with Member(site, [topic]) as other:
            until(lambda: not consumer.poll(0.2) and bool(other.received), "the other member reads")
            moved = other.received[0].partition
            lost = [record for record in in_hand if record.partition == moved]
            kept = [record for record in in_hand if record.partition != moved]
            with pytest.raises(Fenced):
                consumer.commit(lost[0])
            consumer.commit(kept[-1])
            until(lambda: not consumer.poll(0.2) and len(other.received) == len(lost), "the other does it all")
        until(lambda: not consumer.poll(0.2) and len(consumer._held) == 2, "both partitions are back")  # type: ignore[attr-defined]
        consumer.commit(lost[0])  # late, and owner again: must not take the committed offset back
        assert site.admin().backlog(site.group(), topic) == 0
