"""Both state databases, real: a SQLite file, and a database on a PostgreSQL of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.gateway.adapters.database import Database, open_postgres, open_sqlite
from services.gateway.adapters.migrating import bring_up_to_date
from tests.servers import postgres
from tests.servers.require import require

OpenDatabase = Callable[[], Database]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    require("postgres", postgres.missing())
    with postgres.PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDatabase]:
    """Opens one and the same database, without tables at first, as often as it is called."""
    with ExitStack() as opened:
        if request.param == "postgres":
            server: postgres.PostgresServer = request.getfixturevalue("postgres_server")
            url = server.database()

        def open_again() -> Database:
            database = open_sqlite(tmp_path / "state.sqlite") if request.param == "sqlite" else open_postgres(url)
            opened.callback(database.close)
            return database

        yield open_again


@pytest.fixture
def database(empty: OpenDatabase) -> Database:
    """With the tables of today."""
    opened = empty()
    bring_up_to_date(opened)
    return opened
