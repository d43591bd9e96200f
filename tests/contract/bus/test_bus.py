"""What every bus promises (`core.bus.port`), on the embedded log and on a real Kafka."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from services.core.bus.topics import HEADER_REQUEST_ID
from tests.servers import bus_member
from tests.servers.bus_site import Member, Site, receive, until, values

pytestmark = pytest.mark.contract
QUIET_S = 0.6
"""How long a consumer must give nothing to show that it gives nothing."""


def test_a_record_arrives_as_it_was_sent(site: Site) -> None:
    (topic,) = site.topics("a")
    headers = {"request_id": "r1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ü": "é"}
    before = datetime.now(UTC)
    site.producer().send(topic, "päivi", b"\x00\xff raw", headers)
    after = datetime.now(UTC)

    (record,) = receive(site.consumer([topic]), 1)

    assert (record.topic, record.key, record.value, record.headers) == (topic, "päivi", b"\x00\xff raw", headers)
    assert before - timedelta(milliseconds=1) <= record.produced_at <= after


def test_a_record_without_value_or_headers_arrives_too(site: Site) -> None:
    (topic,) = site.topics("a")
    site.producer().send(topic, "k", b"")

    (record,) = receive(site.consumer([topic]), 1)

    assert record.value == b""
    assert record.headers == {}


def test_what_another_process_sent_is_there_after_that_process_is_gone(site: Site) -> None:
    (topic,) = site.topics("a")
    sender = bus_member.start("produce", site.setting, site.home, topic, 5, 2)
    sender.communicate(timeout=40)
    assert sender.returncode == 0

    assert sorted(values(receive(site.consumer([topic]), 5))) == ["0", "1", "2", "3", "4"]


def test_records_of_a_key_arrive_in_the_order_in_which_they_were_sent(site: Site) -> None:
    (topic,) = site.topics("a")
    producer = site.producer()
    for number in range(40):
        producer.send(topic, f"patient-{number % 5}", str(number).encode())

    received = receive(site.consumer([topic]), 40)

    assert len({record.partition for record in received}) > 1
    for key in {record.key for record in received}:
        numbers = [int(record.value) for record in received if record.key == key]
        assert numbers == sorted(numbers)


def test_a_key_always_goes_to_the_same_partition(site: Site) -> None:
    (topic,) = site.topics("a")
    for _ in range(2):
        producer = site.producer()
        for _ in range(3):
            producer.send(topic, "patient", b"x")

    assert len({record.partition for record in receive(site.consumer([topic]), 6)}) == 1


def test_a_new_group_starts_at_the_beginning_and_every_group_gets_everything(site: Site) -> None:
    (topic,) = site.topics("a")
    site.producer().send(topic, "k", b"1")

    for group in ("one", "two"):
        assert values(receive(site.consumer([topic], group), 1)) == ["1"]


def test_committed_records_do_not_come_again_and_others_do(site: Site) -> None:
    (topic,) = site.topics("a")
    producer = site.producer()
    for number in range(3):
        producer.send(topic, "k", str(number).encode())
    first = site.consumer([topic])
    receive(first, 1)
    assert values(receive(first, 2, commit=False)) == ["1", "2"]
    site.close(first)

    assert values(receive(site.consumer([topic]), 2)) == ["1", "2"]


def test_a_commit_covers_everything_before_it_in_its_partition(site: Site) -> None:
    (topic,) = site.topics("a")
    producer = site.producer()
    for number in range(4):
        producer.send(topic, "k", str(number).encode())
    first = site.consumer([topic])
    records = receive(first, 3, commit=False)
    first.commit(records[2])
    first.commit(records[0])  # never takes the committed offset back
    site.close(first)

    assert values(receive(site.consumer([topic]), 1)) == ["3"]


def test_a_record_of_a_killed_member_goes_to_another(site: Site) -> None:
    (topic,) = site.topics("a")
    site.producer().send(topic, "k", b"precious")
    victim = bus_member.start("hold", site.setting, site.home, site.group(), topic)
    assert victim.stdout is not None
    assert victim.stdout.readline().startswith("k precious")
    bus_member.kill(victim)

    assert values(receive(site.consumer([topic]), 1)) == ["precious"]


def test_two_members_share_the_partitions_and_a_closed_one_leaves_them_at_once(site: Site) -> None:
    (topic,) = site.topics("a")
    producer = site.producer()

    def partitions(member: Member, mark: bytes) -> set[int]:
        return {record.partition for record in member.received if record.value == mark}

    with Member(site, [topic]) as first, Member(site, [topic]) as second:

        def each_reads_half() -> bool:
            mark = uuid.uuid4().bytes
            for number in range(40):
                producer.send(topic, f"k{number}", mark)
            with suppress(AssertionError):
                until(lambda: len(partitions(first, mark) | partitions(second, mark)) == 4, "all was read", 3.0)
            return len(partitions(first, mark)) == 2 and len(partitions(second, mark)) == 2

        until(each_reads_half, "each member reads two partitions")
        first.leave()
        for number in range(40):
            producer.send(topic, f"k{number}", b"last")

        until(lambda: len(partitions(second, b"last")) == 4, "the one that stays reads all partitions", 8.0)


def test_a_second_member_reads_its_share_of_the_one_topic_that_is_busy(site: Site) -> None:
    busy, *idle = site.topics("busy", "retry", "idle", "more")
    producer = site.producer()

    with Member(site, [busy, *idle]) as first, Member(site, [busy, *idle]) as second:

        def both_read() -> bool:
            mark = uuid.uuid4().bytes
            for number in range(40):
                producer.send(busy, f"k{number}", mark)
            with suppress(AssertionError):
                until(lambda: _marked(first, mark) + _marked(second, mark) >= 40, "all was read", 3.0)
            shares = [{record.partition for record in m.received if record.value == mark} for m in (first, second)]
            return [len(share) for share in shares] == [2, 2]

        until(both_read, "each member reads two partitions of the busy topic")


def _marked(member: Member, mark: bytes) -> int:
    return sum(record.value == mark for record in member.received)


def test_a_paused_topic_gives_nothing_until_it_is_resumed(site: Site) -> None:
    topic, other = site.topics("a", "b")
    producer = site.producer()
    consumer = site.consumer([topic, other])
    consumer.pause([topic])
    producer.send(topic, "k", b"paused")
    producer.send(other, "k", b"free")

    assert values(receive(consumer, 1)) == ["free"]
    assert not consumer.poll(QUIET_S)
    consumer.resume([topic])
    assert values(receive(consumer, 1)) == ["paused"]


def test_a_pause_survives_members_that_come_and_go(site: Site) -> None:
    (topic,) = site.topics("a", partitions=1)
    producer = site.producer()
    consumer = site.consumer([topic])
    producer.send(topic, "k", b"0")
    receive(consumer, 1)
    consumer.pause([topic])
    producer.send(topic, "k", b"1")
    with Member(site, [topic]) as newcomer:
        for _ in range(10):
            assert not consumer.poll(0.2)
        assert not newcomer.received
    assert not consumer.poll(QUIET_S)

    consumer.resume([topic])

    assert values(receive(consumer, 1)) == ["1"]


def test_earlier_topics_come_strictly_before_later_ones(site: Site) -> None:
    stat, routine = site.topics("stat", "routine")
    producer = site.producer()
    for number in range(30):
        producer.send(routine, f"k{number}", f"routine {number}".encode())
    consumer = site.consumer([stat, routine])
    receive(consumer, 5)
    consumer.pause([stat, routine])  # as a loop does while it works
    producer.send(stat, "k1", b"stat 1")
    producer.send(stat, "k2", b"stat 2")
    assert not consumer.poll(0.3)
    consumer.resume([stat, routine])

    received = values(receive(consumer, 27))

    assert sorted(received[:2]) == ["stat 1", "stat 2"]


def test_no_more_records_come_than_were_asked_for(site: Site) -> None:
    (topic,) = site.topics("a")
    producer = site.producer()
    for number in range(6):
        producer.send(topic, f"k{number}", b"x")
    consumer = site.consumer([topic])
    receive(consumer, 1)

    assert len(consumer.poll(5.0)) == 1
    assert len(consumer.poll(5.0, 3)) <= 3


def test_a_record_that_was_put_back_comes_next(site: Site) -> None:
    (topic,) = site.topics("a")
    producer = site.producer()
    for number in range(3):
        producer.send(topic, "k", str(number).encode())
    consumer = site.consumer([topic])
    first, _ = receive(consumer, 2, commit=False)
    consumer.seek_back(first)

    assert values(receive(consumer, 3)) == ["0", "1", "2"]


def test_a_deferred_record_holds_back_its_partition_and_no_other(site: Site) -> None:
    retry, fresh = site.topics("retry", "fresh", partitions=1)
    producer = site.producer()
    producer.send(retry, "k", b"later")
    producer.send(retry, "k", b"behind it")
    consumer = site.consumer([retry, fresh])
    (record,) = receive(consumer, 1, commit=False)
    consumer.defer(record, 2.0)
    producer.send(fresh, "k", b"fresh")

    assert values(receive(consumer, 3)) == ["fresh", "later", "behind it"]


def test_lag_is_the_age_of_the_oldest_record_that_is_not_committed(site: Site) -> None:
    topic, idle = site.topics("a", "b")
    consumer = site.consumer([topic, idle])
    producer = site.producer()
    producer.send(topic, "k", b"1")
    (record,) = receive(consumer, 1, commit=False)
    consumer.poll(QUIET_S)

    assert QUIET_S <= consumer.lag_seconds()[topic] < 60
    assert consumer.lag_seconds()[idle] == 0
    consumer.commit(record)
    assert consumer.lag_seconds()[topic] == 0


def test_the_backlog_counts_what_a_group_has_not_committed(site: Site) -> None:
    (topic,) = site.topics("a")
    admin, producer = site.admin(), site.producer()
    for number in range(5):
        producer.send(topic, f"k{number}", b"x")
    assert admin.backlog(site.group(), topic) == 5
    consumer = site.consumer([topic])

    receive(consumer, 2)
    assert admin.backlog(site.group(), topic) == 3
    receive(consumer, 3)
    assert admin.backlog(site.group(), topic) == 0
    assert admin.backlog(site.group("other"), topic) == 5


def test_the_admin_knows_when_a_request_was_passed(site: Site) -> None:
    (topic,) = site.topics("a")
    admin, producer = site.admin(), site.producer()
    for name in ("r1", "r2"):
        producer.send(topic, "k", b"x", {HEADER_REQUEST_ID: name})
    consumer = site.consumer([topic])
    assert admin.position_passed(site.group(), topic, "r1") is None
    receive(consumer, 1)

    passed = admin.position_passed(site.group(), topic, "r1")

    assert passed is not None
    assert abs((datetime.now(UTC) - passed).total_seconds()) < 60
    assert admin.position_passed(site.group(), topic, "r2") is None
    assert admin.position_passed(site.group(), topic, "never sent") is None
    assert admin.position_passed(site.group("other"), topic, "r1") is None


def test_the_admin_knows_whether_a_request_is_kept_at_all(site: Site) -> None:
    topic, other = site.topics("a", "b")
    admin, producer = site.admin(), site.producer()
    producer.send(topic, "k", b"x", {HEADER_REQUEST_ID: "r1"})
    assert admin.holds(topic, "r1")
    receive(site.consumer([topic]), 1)
    assert admin.holds(topic, "r1"), "done, and still kept"
    assert not admin.holds(topic, "never sent")
    assert not admin.holds(other, "r1")


def test_a_request_that_was_sent_again_counts_as_queued_again(site: Site) -> None:
    (topic,) = site.topics("a")
    admin, producer = site.admin(), site.producer()
    consumer = site.consumer([topic])
    producer.send(topic, "k", b"x", {HEADER_REQUEST_ID: "r1"})
    receive(consumer, 1)
    assert admin.position_passed(site.group(), topic, "r1") is not None

    producer.send(topic, "k", b"x", {HEADER_REQUEST_ID: "r1"})

    assert admin.position_passed(site.group(), topic, "r1") is None


def test_browsing_shows_everything_and_joins_no_group(site: Site) -> None:
    topic, empty = site.topics("a", "b")
    admin, producer = site.admin(), site.producer()
    for number in range(300):
        producer.send(topic, f"k{number % 3}", str(number).encode())
    consumer = site.consumer([topic])
    receive(consumer, 3)

    browsed = list(admin.browse(topic))

    assert sorted(int(value) for value in values(browsed)) == list(range(300))
    assert list(admin.browse(empty)) == []
    assert admin.backlog(site.group(), topic) == 297


def test_topics_are_created_once(site: Site) -> None:
    (topic,) = site.topics("a")
    site.producer().send(topic, "k", b"kept")
    site.topics("a", "b")

    assert values(receive(site.consumer([topic]), 1)) == ["kept"]
