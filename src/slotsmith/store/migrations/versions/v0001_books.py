"""The books: pools, intents, instances and their history, decisions, failures, statistics, recorded views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from slotsmith.store.migrations.types import WORDS

revision = "0001"
down_revision = None


def _pool(*, key: bool = False) -> sa.Column[str]:
    return sa.Column("pool", WORDS, sa.ForeignKey("pools.name"), primary_key=key, nullable=False)


def _serial() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("owns", sa.Boolean(), nullable=False),
        sa.Column("heartbeat", sa.Double()),
        sa.Column("summary", sa.Text()),
    )
    _create_launch_tables()
    _create_instance_tables()
    _create_log_tables()


def _create_launch_tables() -> None:
    op.create_table(
        "intents",
        sa.Column("token", WORDS, primary_key=True),
        _pool(),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("offering", sa.Text(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("granted", sa.Integer()),
        sa.Column("answered_at", sa.Double()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("error", WORDS, nullable=False),
    )
    op.create_index("ix_intents_pool_state", "intents", ["pool", "state"])
    op.create_table(
        "launch_failures",
        _pool(key=True),
        sa.Column("offering", WORDS, primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16)),
        sa.Column("message", WORDS, nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("next_attempt_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "join_failures",
        _pool(key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.Column("last_id", WORDS, nullable=False),
    )


def _create_instance_tables() -> None:
    op.create_table(
        "instances",
        _pool(key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("launched_at", sa.Double(), nullable=False),
        sa.Column("agent_name", WORDS, nullable=False),
        sa.Column("token", WORDS, nullable=False),
        sa.Column("offering", WORDS, nullable=False),
        sa.Column("capacity", sa.Text()),
        sa.Column("detail", WORDS, nullable=False),
        sa.Column("first_seen", sa.Double(), nullable=False),
        sa.Column("joined_at", sa.Double()),
        sa.Column("idle_since", sa.Double()),
        sa.Column("missing_since", sa.Double()),
        sa.Column("termination", sa.Text()),
        sa.Column("gone_at", sa.Double()),
    )
    op.create_index("ix_instances_pool_gone_at", "instances", ["pool", "gone_at"])
    op.create_index("ix_instances_token", "instances", ["token"])
    op.create_table(
        "spans",
        _pool(key=True),
        sa.Column("instance_id", WORDS, primary_key=True),
        sa.Column("started_at", sa.Double(), primary_key=True),
        sa.Column("ended_at", sa.Double()),
        sa.Column("slots", sa.Integer(), nullable=False),
    )
    op.create_index("ix_spans_pool_started_at", "spans", ["pool", "started_at"])


def _create_log_tables() -> None:
    op.create_table(
        "moves",
        _serial(),
        _pool(),
        sa.Column("instance_id", WORDS, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state_before", sa.String(16)),
        sa.Column("state_after", sa.String(16)),
        sa.Column("note", WORDS, nullable=False),
    )
    op.create_index("ix_moves_pool_instance_id", "moves", ["pool", "instance_id"])
    op.create_index("ix_moves_at", "moves", ["at"])
    op.create_table(
        "decisions",
        _serial(),
        _pool(),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("ix_decisions_pool_at", "decisions", ["pool", "at"])
    op.create_table(
        "views",
        _serial(),
        _pool(),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_views_pool_at", "views", ["pool", "at"])
