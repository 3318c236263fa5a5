"""Which of several replicas leads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from slotsmith.store.migrations.types import WORDS

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("holder", WORDS, nullable=False),
        sa.Column("address", WORDS, nullable=False),
        sa.Column("secret", WORDS, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
    )
