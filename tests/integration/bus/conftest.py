"""A Kafka of its own for every test here: they kill it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import kafka
from tests.servers.require import require


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[kafka.KafkaBroker]:
    require("kafka", kafka.missing())
    client_log = logging.getLogger("kafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL)  # it reports every attempt to reach a broker that was killed
    with kafka.KafkaBroker(tmp_path / "kafka") as started:
        yield started
    client_log.setLevel(level)
    gc.collect()  # kafka-python leaves the sockets of failed attempts to the collector: here, where that is allowed
