"""Names of topics, groups and headers. Nothing else spells them."""

from __future__ import annotations

from datetime import timedelta

from services.core.contracts.enums import Lane, Stage

OUTCOME_TOPIC = "glioserve.study.outcome.v1"
BUS_LANES = (Lane.STAT, Lane.ROUTINE)

HEADER_REQUEST_ID = "request_id"
HEADER_SCHEMA = "schema"
HEADER_NOT_BEFORE = "not_before"
HEADER_FIRST_TRIED = "first_tried_at"
HEADER_RETRIES = "retries"
HEADER_ORIGIN = "origin"
HEADER_REASON_CODE = "reason_code"
HEADER_REASON = "reason"
HEADER_REDRIVEN = "redriven"

RETENTION = timedelta(days=14)
DEAD_RETENTION = timedelta(days=90)


def request_topic(stage: Stage, lane: Lane) -> str:
    """`glioserve.study.<stage>.<lane>.v1`. Raises ValueError for the theatre, which has no topic."""
    if lane not in BUS_LANES:
        raise ValueError("the theatre does not travel on the bus")
    return f"glioserve.study.{stage}.{lane}.v1"


def retry_topic(topic: str) -> str:
    """Where requests wait for another try."""
    return f"{topic}.retry"


def dead_topic(topic: str) -> str:
    """Where requests that cannot succeed are kept with origin and reason."""
    return f"{topic}.dead"


def origin_topic(topic: str) -> str:
    """The topic that a retry or dead-letter topic stands beside."""
    return topic.removesuffix(".dead").removesuffix(".retry")


def labels_of(topic: str) -> tuple[str, str]:
    """Stage and lane of a request topic (its retry topic too) as metric labels; `other` and `none` for the rest."""
    parts = origin_topic(topic).split(".")
    if len(parts) == 5 and parts[2] in set(Stage) and parts[3] in set(BUS_LANES):
        return parts[2], parts[3]
    return "other", "none"


def stage_group(stage: Stage) -> str:
    """Consumer group of a stage's workers."""
    return f"glioserve.{stage}"


GATEWAY_GROUP = "glioserve.gateway"


def all_topics() -> list[str]:
    """Every topic of the product, for creation at start."""
    requests = [request_topic(stage, lane) for stage in Stage for lane in BUS_LANES]
    return [OUTCOME_TOPIC, dead_topic(OUTCOME_TOPIC)] + [
        name for topic in requests for name in (topic, retry_topic(topic), dead_topic(topic))
    ]
