"""What foresight has learned of each pool's demand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "foresight",
        sa.Column("pool", sa.Text(), sa.ForeignKey("pools.name"), primary_key=True, nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
