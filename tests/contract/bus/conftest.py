"""Both buses, real: the embedded log in a temporary home, and an Apache Kafka of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import kafka
from tests.servers.bus_site import Site, open_site
from tests.servers.require import require


@pytest.fixture(scope="session")
def kafka_setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require("kafka", kafka.missing())
    with kafka.KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.setting


@pytest.fixture(params=["embedded", "kafka"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    setting = "embedded" if request.param == "embedded" else request.getfixturevalue("kafka_setting")
    with open_site(setting, tmp_path) as made:
        yield made
