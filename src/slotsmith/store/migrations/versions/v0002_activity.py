"""What an agent told of its work when its idle clock began, so that work done while nobody looked shows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("instances", sa.Column("activity", sa.BigInteger()))
