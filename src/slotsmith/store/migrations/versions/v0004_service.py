"""What people do by hand, with who and why, and the tokens that let them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from slotsmith.store.migrations.types import WORDS

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "steering",
        sa.Column("pool", WORDS, sa.ForeignKey("pools.name"), primary_key=True, nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "actions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("pool", WORDS),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", WORDS, nullable=False),
        sa.Column("what", WORDS, nullable=False),
        sa.Column("why", WORDS, nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
    )
    op.create_index("ix_actions_pool_at", "actions", ["pool", "at"])
    op.create_table(
        "tokens",
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("pool", WORDS),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
    )
