"""The tables of the store.

Times are epoch seconds. Values that are only ever read as a whole (resources, offerings, bodies) are kept as JSON
text, which every database keeps unchanged. A change here needs a migration; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine


class Words(TypeDecorator[str]):
    """Text as it comes from clouds and processes.

    NUL and lone surrogates (undecodable bytes of a process's output) are written as escapes: a database refuses
    them, and a strange error text must not be what keeps a launch off the record.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        # In the order of their bytes, as SQLite has it, whatever language the database was made for.
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None or value.isprintable():
            return value
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is called INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")


def _pool(*, key: bool = False) -> Column[str]:
    return Column("pool", Words, ForeignKey("pools.name"), primary_key=key, nullable=False)


pools = Table(
    "pools",
    metadata,
    Column("name", Words, primary_key=True),
    Column("owns", Boolean, nullable=False),
    Column("heartbeat", Double),
    Column("summary", Text),
)

intents = Table(
    "intents",
    metadata,
    Column("token", Words, primary_key=True),
    _pool(),
    Column("state", String(16), nullable=False),
    Column("offering", Text, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("granted", Integer),
    Column("answered_at", Double),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("reason", Words, nullable=False),
    Column("error", Words, nullable=False),
    Index(None, "pool", "state"),
)

instances = Table(
    "instances",
    metadata,
    _pool(key=True),
    Column("id", Words, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("launched_at", Double, nullable=False),
    Column("agent_name", Words, nullable=False),
    Column("token", Words, nullable=False),
    Column("offering", Words, nullable=False),
    Column("capacity", Text),
    Column("detail", Words, nullable=False),
    Column("first_seen", Double, nullable=False),
    Column("joined_at", Double),
    Column("idle_since", Double),
    Column("missing_since", Double),
    Column("activity", BigInteger),
    Column("termination", Text),
    Column("gone_at", Double),
    Index(None, "pool", "gone_at"),
    Index(None, "token"),
)

moves = Table(
    "moves",
    metadata,
    Column("id", _Serial, primary_key=True),
    _pool(),
    Column("instance_id", Words, nullable=False),
    Column("at", Double, nullable=False),
    Column("state_before", String(16)),
    Column("state_after", String(16)),
    Column("note", Words, nullable=False),
    Index(None, "pool", "instance_id"),
    Index(None, "at"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", _Serial, primary_key=True),
    _pool(),
    Column("at", Double, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "pool", "at"),
)

launch_failures = Table(
    "launch_failures",
    metadata,
    _pool(key=True),
    Column("offering", Words, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("kind", String(16)),
    Column("message", Words, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("next_attempt_at", Double, nullable=False),
)

join_failures = Table(
    "join_failures",
    metadata,
    _pool(key=True),
    Column("failures", Integer, nullable=False),
    Column("retry_at", Double, nullable=False),
    Column("last_id", Words, nullable=False),
)

spans = Table(
    "spans",
    metadata,
    _pool(key=True),
    Column("instance_id", Words, primary_key=True),
    Column("started_at", Double, primary_key=True),
    Column("ended_at", Double),
    Column("slots", Integer, nullable=False),
    Column("price", Double),
    Index(None, "pool", "started_at"),
)

views = Table(
    "views",
    metadata,
    Column("id", _Serial, primary_key=True),
    _pool(),
    Column("at", Double, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index(None, "pool", "at"),
)

steering = Table(
    "steering",
    metadata,
    _pool(key=True),
    Column("changed_at", Double, nullable=False),
    Column("body", Text, nullable=False),
)

foresight = Table(
    "foresight",
    metadata,
    _pool(key=True),
    Column("changed_at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# Not tied to a pool with books: what was done is kept whatever becomes of those.
actions = Table(
    "actions",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("pool", Words),
    Column("at", Double, nullable=False),
    Column("who", Words, nullable=False),
    Column("what", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("details", Text, nullable=False),
    Index(None, "pool", "at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Words, primary_key=True),
    Column("name", Words, nullable=False),
    Column("role", String(16), nullable=False),
    Column("pool", Words),
    Column("hash", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

# One row, in a database that several processes share.
lease = Table(
    "lease",
    metadata,
    Column("name", Words, primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("holder", Words, nullable=False),
    Column("address", Words, nullable=False),
    Column("secret", Words, nullable=False),
    Column("since", Double, nullable=False),
)
