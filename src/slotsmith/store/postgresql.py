"""Connections to a PostgreSQL server, set up for what is asked of them: all that is special about it."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import NoSuchModuleError

from slotsmith.store.base import StoreError
from slotsmith.store.connect import OPTION, Access
from slotsmith.store.errors import Unusable
from slotsmith.store.place import Place

CONNECT_DEADLINE: Final = 5
"""Seconds for a connection to come about."""
STATEMENT_DEADLINE: Final = 20
"""Seconds for one statement; below the 30 s after which a caller does not wait any more."""
IDLE_DEADLINE: Final = 4
"""Seconds between two statements of one transaction. A process that is stopped in the middle of one keeps its locks no
longer than that, and they are what keeps another replica from taking over."""
_MOST_CONNECTIONS: Final = 10
_NEEDS_EXTRA = 'needs more packages: pip install "slotsmith[postgres]"'
# One writer at a time, as a SQLite file has it: what is read before a write still holds when it happens. The number
# has no meaning, it only must be the same in every process.
_ONE_WRITER = "SELECT pg_advisory_xact_lock(4985270174)"
_BEGIN: Final = {
    Access.READ: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    # Without waiting for the disk: it survives the end of this process, and the server's crash takes the last second.
    Access.WRITE: f"SET LOCAL synchronous_commit = off; {_ONE_WRITER}",
    Access.DURABLE: _ONE_WRITER,
}


def server_engine(place: Place, *, patience: float) -> Engine:
    """An engine for a database of a server. Nothing is opened yet.

    `patience`: for how many seconds a statement waits for another program's lock. Safe to use from any thread.

    Raises:
        StoreError: the packages for it are not installed.
    """
    assert place.server is not None
    try:
        engine = create_engine(
            place.server,
            connect_args=_arguments(place.server, patience),
            pool_size=2,
            max_overflow=_MOST_CONNECTIONS - 2,
            pool_timeout=CONNECT_DEADLINE,
            pool_pre_ping=True,
            pool_recycle=1800,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreError(f"{place} {_NEEDS_EXTRA}") from error
    event.listen(engine, "begin", _begin)
    return engine


def _arguments(url: URL, patience: float) -> dict[str, Any]:
    settings = {
        "statement_timeout": STATEMENT_DEADLINE * 1000,
        "lock_timeout": round(patience * 1000),
        "idle_in_transaction_session_timeout": IDLE_DEADLINE * 1000,
    }
    # What the URL says comes after, and wins.
    given = url.query.get("options", "")
    given = " ".join(given) if isinstance(given, tuple) else given
    options = " ".join([*(f"-c {name}={value}" for name, value in settings.items()), given]).strip()
    defaults = {
        "connect_timeout": CONNECT_DEADLINE,
        "application_name": "slotsmith",
        "client_encoding": "utf8",
        # A server that is gone without a word is noticed.
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * STATEMENT_DEADLINE,
    }
    return {**{name: value for name, value in defaults.items() if name not in url.query}, "options": options}


def _begin(connection: Connection) -> None:
    access = connection.get_execution_options().get(OPTION, Access.READ)
    if access in _BEGIN:
        connection.exec_driver_sql(_BEGIN[access])


def check_server(connection: Connection) -> None:
    """Raises `Unusable` when the database cannot keep every text."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise Unusable(f"is a database in {encoding}: make it with CREATE DATABASE ... ENCODING 'UTF8'")
