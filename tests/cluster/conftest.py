"""One control plane, one broker and one release for all tests of the cluster; each skips by name what is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import keda
from tests.cluster.plane import Plane, control_plane
from tests.cluster.programs import find_programs
from tests.cluster.release import Release
from tests.cluster.runner import Followed, StageRunner
from tests.cluster.ward import STAGE, ward_without_stage
from tests.servers import kafka
from tests.servers.require import require
from tests.servers.triton import require_triton
from tests.system.stack import Stack


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    programs = find_programs()
    require("cluster", programs.missing())
    with control_plane(tmp_path_factory.mktemp("cluster") / "plane", programs) as running:
        keda.define(running)
        yield running


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.KafkaBroker]:
    require("kafka", kafka.missing())
    with kafka.KafkaBroker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def release(plane: Plane, broker: kafka.KafkaBroker) -> Release:
    installed = Release(plane.admin, broker.address)
    installed.install()
    return installed


@pytest.fixture(scope="session")
def scaler(plane: Plane) -> None:
    """KEDA's programs, which only the tests of scaling need."""
    keda.start(plane)


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory, broker: kafka.KafkaBroker) -> Iterator[Stack]:
    require_triton()
    with ward_without_stage(tmp_path_factory.mktemp("ward"), broker.setting) as running:
        yield running


@pytest.fixture
def runner(release: Release, ward: Stack, scaler: None) -> Iterator[StageRunner]:
    """Follows the pods of the stage that the ward lacks."""
    followed = Followed(pods=lambda: release.pods(STAGE), service=STAGE, home=ward.home)
    running = StageRunner(followed)
    try:
        yield running
    finally:
        running.stop()
