"""Opens the gateway's databases. The only place that knows SQLite from PostgreSQL.

SQLite: WAL and synchronous=FULL (rule 1), every write transaction takes the write lock at its start, so that what it
has read stays true until it commits. PostgreSQL: the row of the patient is locked instead (`state.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, MetaData, TypeDecorator, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.core.contracts.errors import Transient

BUSY_TIMEOUT_S = 30.0


class UtcTime(TypeDecorator[datetime]):
    """A point in time with its zone, kept as UTC without one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To the database."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        return value.replace(tzinfo=UTC) if value else None


class Database:
    """Connections for reading and for writing."""

    def __init__(self, engine: Engine, tables: MetaData) -> None:
        self._engine = engine
        with self.write() as connection:
            tables.create_all(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: durable at the end, rolled back on an error. Raises Transient when busy or full."""
        with _storage_errors(), self._engine.connect() as plain:
            connection = plain.execution_options(glioserve_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that never waits for a writer."""
        with _storage_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()


def open_sqlite(path: Path, tables: MetaData) -> Database:
    """The database in this file, which is made when it is not there."""
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None}, pool_size=8
    )
    event.listen(engine, "connect", _durable)
    event.listen(engine, "begin", _begin)
    return Database(engine, tables)


def _durable(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("glioserve_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        if isinstance(error, OperationalError) and "full" in str(error.orig):
            raise Transient(
                "DISK_FULL", "there is no room for the state", "Free space below GLIOSERVE_HOME."
            ) from error
        raise Transient("STATE_UNAVAILABLE", "the state database cannot be used now", "Try again.") from error
