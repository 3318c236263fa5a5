"""Connections to a PostgreSQL server, set up for what is asked of them: all that is special about it."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.exc import NoSuchModuleError

from slotsmith.store.base import StoreError
from slotsmith.store.connect import OPTION, Access
from slotsmith.store.errors import Unusable
from slotsmith.store.place import Place
from slotsmith.store.schema import lease

CONNECT_DEADLINE: Final = 5
"""Seconds for a connection to come about."""
STATEMENT_DEADLINE: Final = 20
"""Seconds for one statement; below the 30 s after which a caller does not wait any more."""
IDLE_DEADLINE: Final = 4
"""Seconds between two statements of one transaction: a process that is stopped in the middle of one must not keep its
locks, for they keep another replica from taking over."""
STANDS_STILL: Final = 5
"""Seconds after which whoever takes the lease ends the transaction that is in its way. The server's own deadline does
not see a process that was stopped between statements which it sends without waiting for their answers."""
_MOST_CONNECTIONS: Final = 10
_SIGN_OF_LIFE: Final = 3
"""Seconds in which a leader shows a sign of life; more than `slotsmith.replicas.candidate.BEAT`."""
_NEEDS_EXTRA = 'needs more packages: pip install "slotsmith[postgres]"'
# One writer at a time, as a SQLite file has it: what is read before a write still holds when it happens. The number
# has no meaning, it only must be the same in every process.
_TURN: Final = 498527017
_ONE_WRITER = f"SELECT pg_advisory_xact_lock({_TURN})"
_CUT_OFF: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND xact_start < clock_timestamp() - make_interval(secs => :seconds)"
    " AND pid IN (SELECT pid FROM pg_locks WHERE granted AND"
    " (relation = to_regclass('lease') OR (locktype = 'advisory' AND classid = 0 AND objid = :turn)))"
)
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


def check_unused(connection: Connection) -> None:
    """Raises `Unusable` when a replica, which must be of an older version, leads with this database."""
    if not inspect(connection).has_table(lease.name):
        return
    query = select(lease.c.holder, lease.c.fence, lease.c.beat).where(lease.c.holder != "")
    before = connection.execute(query).one_or_none()
    if before is None:
        return
    connection.exec_driver_sql(f"SELECT pg_sleep({_SIGN_OF_LIFE})")
    # A statement sees what has been committed before it: one that has crashed shows no more signs of life.
    if connection.execute(query).one_or_none() != before:
        raise Unusable(f"is of an older version, and {before.holder} works on it: stop all its replicas first")


def cut_off_writers(connection: Connection) -> None:
    """End the connections of this user that hold up whoever takes the lease, and have done so for long."""
    connection.execute(_CUT_OFF, {"seconds": STANDS_STILL, "turn": _TURN})
