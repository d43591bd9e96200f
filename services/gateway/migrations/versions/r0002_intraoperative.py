"""Masks of the operating room, beside a study's versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """A table more."""
    op.create_table(
        "intraoperative",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("study", sa.String(length=36), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("completeness", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("acquired_at", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("ix_intraoperative_study", "intraoperative", ["study"], unique=False)


def downgrade() -> None:
    """Removes it."""
    op.drop_table("intraoperative")
