"""What Alembic runs: the revisions, on the connection and in the transaction of `adapters/migrating.py`."""

from __future__ import annotations

from alembic import context

from services.gateway.adapters.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite too: the transaction was begun by hand
    transaction_per_migration=False,
)
context.run_migrations()
