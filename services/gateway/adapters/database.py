"""Opens the gateway's databases. The only place that knows SQLite from PostgreSQL.

SQLite: WAL and synchronous=FULL (rule 1), every write transaction takes the write lock at its start, so that what it
has read stays true until it commits. PostgreSQL: writers lock the row of the patient instead (`state.py`) and read
what is committed; a read is one snapshot. Several gateways may share it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    Insert,
    MetaData,
    Table,
    TypeDecorator,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError

from services.core.security.exposure import is_loopback
from services.gateway.adapters.database_errors import storage_errors

BUSY_TIMEOUT_S = 30.0
SILENCE_S = 45
"""Longest silence of a server; above BUSY_TIMEOUT_S, which ends a wait for a lock."""
POSTGRES_SCHEMES = frozenset({"postgresql", "postgres"})
_LOCK = 0x676C696F  # of this program's migrations


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
    """Connections for reading and for writing. `shared`: other gateways may use it at the same time."""

    def __init__(self, engine: Engine, *, shared: bool = False) -> None:
        self._engine = engine
        self.shared = shared

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: durable at the end, rolled back on an error. Raises Transient when busy or full."""
        with storage_errors(), self._engine.connect() as plain:
            connection = plain.execution_options(glioserve_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that never waits for a writer."""
        with storage_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    def lock_all(self, connection: Connection) -> None:
        """Keeps all who ask for the same from going on, until the end of the writing transaction."""
        if self.shared:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()


def open_sqlite(path: Path, tables: MetaData | None = None) -> Database:
    """The database in this file, which is made when it is not there; with these tables, unless migrations make them."""
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None}, pool_size=8
    )
    event.listen(engine, "connect", _sqlite_connected)
    event.listen(engine, "begin", _sqlite_begins)
    database = Database(engine)
    if tables is not None:
        with database.write() as connection:
            tables.create_all(connection)
    return database


def open_postgres(url: str, ca: Path | None = None, pool: int = 8) -> Database:
    """The database at `postgresql://user:password@host:port/name[?sslmode=disable]`.

    Beyond loopback the server must show a certificate of `ca` (of the system's authorities without one), unless the
    URL says `sslmode=disable`. Raises ValueError on a URL that cannot be used, OSError on an unreadable `ca`.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("not a URL") from None  # without the original: it quotes the password
    mode = parsed.query.get("sslmode", "disable" if ca is None and is_loopback(parsed.host or "") else "verify-full")
    if parsed.drivername not in POSTGRES_SCHEMES or not parsed.host or not parsed.database:
        raise ValueError("not postgresql://user:password@host:port/name")
    if mode not in {"disable", "verify-full"} or set(parsed.query) - {"sslmode"}:
        raise ValueError("the only option is sslmode=disable or sslmode=verify-full")
    engine = create_engine(
        parsed.set(drivername="postgresql+pg8000", query={}),
        connect_args={
            "timeout": SILENCE_S,
            "tcp_keepalive": True,
            "application_name": "glioserve-gateway",
            "ssl_context": None if mode == "disable" else ssl.create_default_context(cafile=ca),
        },
        pool_size=pool,
        max_overflow=pool,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _postgres_connect)
    event.listen(engine, "connect", _postgres_connected)
    event.listen(engine, "begin", _postgres_begins)
    return Database(engine, shared=True)


def insert_new(connection: Connection, table: Table) -> Insert:
    """An insert that leaves a row as it is where one with the same key stands; its `rowcount` is then 0."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def _sqlite_connected(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begins(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _postgres_connect(_: Dialect, __: object, ___: object, parameters: dict[str, Any]) -> Any:
    from services.gateway.adapters.postgres_connection import GuardedConnection  # only where there is a PostgreSQL

    return GuardedConnection(**parameters)


def _postgres_connected(connection: Any, _: object) -> None:
    """A commit that is answered is on the disk, whatever the server's default is (rule 1)."""
    asked = "current_setting('synchronous_commit')"
    cursor = connection.cursor()
    for name, value in (
        ("synchronous_commit", f"CASE {asked} WHEN 'off' THEN 'on' ELSE {asked} END"),
        ("lock_timeout", f"'{BUSY_TIMEOUT_S:.0f}s'"),
        ("idle_in_transaction_session_timeout", "'120s'"),
    ):
        cursor.execute(f"SELECT set_config('{name}', {value}, false)")
    connection.commit()


def _postgres_begins(connection: Connection) -> None:
    if not _writes(connection):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("glioserve_write", False))
