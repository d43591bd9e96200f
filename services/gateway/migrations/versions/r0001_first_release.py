"""The tables of the first release.

Frozen: what stands here was released. A change of `adapters/schema.py` is a new revision beside it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """From nothing."""
    _studies()
    _instances()
    _requests()
    _results()
    _messages()


def downgrade() -> None:
    """Removes everything."""
    for table in (
        "deliveries",
        "outbox",
        "history",
        "results",
        "requests",
        "instances",
        "versions",
        "studies",
        "patients",
    ):
        op.drop_table(table)


def _studies() -> None:
    op.create_table(
        "patients",
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("patient"),
    )
    op.create_table(
        "studies",
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=True),
        sa.Column("acquired_at", sa.String(length=32), nullable=True),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("closes_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.patient"]),
        sa.PrimaryKeyConstraint("study"),
    )
    op.create_index("ix_studies_closes_at", "studies", ["closes_at"], unique=False)
    op.create_index("ix_studies_patient", "studies", ["patient"], unique=False)
    op.create_table(
        "versions",
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("intake", sa.JSON(), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["studies.study"]),
        sa.PrimaryKeyConstraint("study", "version"),
    )


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("instance", sa.String(length=80), nullable=False),
        sa.Column("series", sa.String(length=80), nullable=False),
        sa.Column("slot", sa.String(length=8), nullable=True),
        sa.Column("fingerprint", sa.String(length=71), nullable=False),
        sa.Column("blob", sa.JSON(), nullable=False),
        sa.Column("door", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["studies.study"]),
        sa.PrimaryKeyConstraint("study", "instance"),
    )


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("replay", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("outcome", sa.LargeBinary(), nullable=True),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("emitted_at", sa.DateTime(), nullable=False),
        sa.Column("settled_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["patient"], ["patients.patient"]),
        sa.ForeignKeyConstraint(["study"], ["studies.study"]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("request_id"),
    )
    op.create_index("ix_requests_patient", "requests", ["patient"], unique=False)
    op.create_index("ix_requests_status", "requests", ["status"], unique=False)
    op.create_index("requests_of_study", "requests", ["study", "version"], unique=False)


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("completeness", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["studies.study"]),
        sa.PrimaryKeyConstraint("study", "version", "revision"),
    )
    op.create_table(
        "history",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["studies.study"]),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("history_of_study", "history", ["study", "seq"], unique=False)


def _messages() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_outbox_sent_at", "outbox", ["sent_at"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=80), nullable=False),
        sa.Column("output", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["study"], ["studies.study"]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("destination", "output", "digest"),
    )
