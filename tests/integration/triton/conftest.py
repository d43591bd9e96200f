"""One real server for the tests that leave it as they found it; tests that break it start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.triton import TritonServer, triton_server


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with triton_server(tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture
def triton(session_server: TritonServer) -> Iterator[TritonServer]:
    yield session_server
    session_server.close_clients()
