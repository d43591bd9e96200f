"""Brings the tables up to date when a gateway starts.

One transaction under a lock of the database: of several gateways that start at once one migrates and the others find
it done; a migration that fails leaves what was there. A schema that is newer than this program is an error, never
touched: an older gateway beside or after a newer one would write what the newer one does not expect.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from services.core.contracts.errors import Permanent
from services.gateway import migrations
from services.gateway.adapters.database import Database

FIRST = "0001"
_TABLE = "alembic_version"


def bring_up_to_date(database: Database) -> None:
    """Raises Permanent on a schema of a newer program, Transient when the database cannot be used."""
    with database.read() as connection:
        if _revision(connection) == migrations.HEAD:
            return
    with database.write() as connection:
        database.lock_all(connection)
        found = _revision(connection)  # another gateway may have done it while we waited
        if found != migrations.HEAD:
            _upgrade(connection, found)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {_TABLE}"))  # noqa: S608 - a constant
    return found


def _upgrade(connection: Connection, found: str | None) -> None:
    from alembic import command  # half a second, for the one start that needs it
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise Permanent(
            "SCHEMA_NEWER",
            f"the state database has the schema {found}; this program knows none after {migrations.HEAD}",
            "Start the newer program, or restore the database from before its first start.",
        )
    if found is None and (adopted := _from_before_migrations(connection)):
        command.stamp(config, adopted)
    command.upgrade(config, "head")


def _from_before_migrations(connection: Connection) -> str | None:
    """The revision of tables that a program without migrations made; None where there are none."""
    tables = set(inspect(connection).get_table_names())
    if "patients" not in tables:
        return None
    return migrations.HEAD if "intraoperative" in tables else FIRST
