"""The tables of every database are those that the code means, whoever made them, and newer ones are left alone."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from services.core.contracts.errors import Permanent, Transient
from services.gateway import migrations
from services.gateway.adapters.database import Database
from services.gateway.adapters.migrating import bring_up_to_date
from services.gateway.adapters.schema import metadata
from tests.contract.gateway.conftest import OpenDatabase

pytestmark = pytest.mark.contract


def revision(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def differences(database: Database) -> list[object]:
    """What the database has otherwise than the code means it."""
    with database.read() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_an_empty_database_gets_the_tables_of_today(empty: OpenDatabase) -> None:
    database = empty()
    bring_up_to_date(database)
    assert differences(database) == []
    with database.read() as connection:
        assert revision(connection) == migrations.HEAD
    bring_up_to_date(database)


def test_the_head_is_the_last_revision() -> None:
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


@pytest.mark.parametrize("made", ["first release", "without revisions"])
def test_a_home_from_before_migrations_is_taken_over_with_all_its_rows(empty: OpenDatabase, made: str) -> None:
    database = empty()
    with database.write() as connection:
        metadata.create_all(connection)
        if made == "first release":
            connection.execute(text("DROP TABLE intraoperative"))
        connection.execute(text("INSERT INTO patients VALUES ('p', '2026-01-01')"))
    bring_up_to_date(database)
    assert differences(database) == []
    with database.read() as connection:
        assert connection.scalar(text("SELECT patient FROM patients")) == "p"


def test_a_newer_schema_is_an_error_and_stays_as_it_is(empty: OpenDatabase) -> None:
    database = empty()
    bring_up_to_date(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("ALTER TABLE patients ADD COLUMN tomorrow VARCHAR(8)"))
    with pytest.raises(Permanent) as caught:
        bring_up_to_date(database)
    assert caught.value.code == "SCHEMA_NEWER"
    assert "9999" in caught.value.message
    with database.read() as connection:
        assert revision(connection) == "9999"
        assert "tomorrow" in {column["name"] for column in inspect(connection).get_columns("patients")}


def test_of_gateways_that_start_at_once_one_migrates(empty: OpenDatabase) -> None:
    failed: list[BaseException] = []
    barrier = threading.Barrier(3)

    def start(database: Database) -> None:
        barrier.wait()
        try:
            bring_up_to_date(database)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=start, args=(empty(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert differences(empty()) == []


def test_a_migration_that_fails_leaves_what_was_there(empty: OpenDatabase) -> None:
    database = empty()
    with database.write() as connection:
        connection.execute(text("CREATE TABLE deliveries (seq INTEGER)"))
    with pytest.raises((DBAPIError, Transient)):
        bring_up_to_date(database)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == ["deliveries"]
