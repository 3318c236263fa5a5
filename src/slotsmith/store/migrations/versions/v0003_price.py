"""What an instance cost per hour while it was paid for, so that a month's spending can be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("spans", sa.Column("price", sa.Double()))
