"""Headers of retry topics and dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.core.bus import letters
from services.core.bus.port import Record
from services.core.bus.topics import HEADER_NOT_BEFORE, dead_topic, labels_of, origin_topic, retry_topic
from services.core.contracts.errors import Permanent

pytestmark = pytest.mark.unit
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPIC = "glioserve.study.segment.stat.v1"


def record(topic: str = TOPIC, **headers: str) -> Record:
    return Record(topic=topic, partition=2, offset=7, key="k", value=b"v", headers=headers, produced_at=NOW)


def test_a_first_retry_keeps_the_headers_and_says_when_it_is_due() -> None:
    headers = letters.retry_headers(record(traceparent="t", request_id="r"), NOW, NOW, 10.0)

    retry = record(retry_topic(TOPIC), **headers)
    assert (retry.headers["traceparent"], retry.headers["request_id"]) == ("t", "r")
    assert letters.first_tried(retry) == NOW
    assert letters.retries(retry) == 1
    assert letters.wait_s(retry, NOW) == 10.0
    assert letters.wait_s(retry, NOW + timedelta(seconds=11)) == 0


def test_a_second_retry_counts_on_and_keeps_the_first_time() -> None:
    first = record(**letters.retry_headers(record(), NOW, NOW, 10.0))
    later = NOW + timedelta(minutes=1)

    second = record(**letters.retry_headers(first, NOW, later, 10.0))

    assert letters.retries(second) == 2
    assert letters.first_tried(second) == NOW


@pytest.mark.parametrize("text", ["", "soon", "2026-03-01", "2025-01-01T00:00:00"])
def test_a_time_that_cannot_be_read_or_is_past_makes_nobody_wait(text: str) -> None:
    assert letters.wait_s(record(**{HEADER_NOT_BEFORE: text}), NOW) == 0


def test_a_dead_letter_says_where_it_lay_and_why_and_goes_back_without_that() -> None:
    failed = record(retry_topic(TOPIC), traceparent="t", first_tried_at="x", retries="3", not_before="y")
    headers = letters.dead_headers(failed, Permanent("BROKEN", "m" * 5000))
    letter = record(dead_topic(TOPIC), **headers)

    assert headers["origin"] == f"{TOPIC}.retry/2/7"
    assert headers["reason_code"] == "BROKEN"
    assert len(headers["reason"]) == letters.REASON_LIMIT
    assert letters.came_from(letter) == TOPIC
    assert letters.redriven_headers(letter) == {"traceparent": "t"}


def test_topics_know_their_origin_and_their_labels() -> None:
    assert origin_topic(retry_topic(TOPIC)) == origin_topic(dead_topic(TOPIC)) == TOPIC
    assert labels_of(retry_topic(TOPIC)) == ("segment", "stat")
    assert labels_of("glioserve.study.outcome.v1") == ("other", "none")
