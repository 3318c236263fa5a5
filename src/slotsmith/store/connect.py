"""Connections to a database, set up for what is asked of them.

All that is special about SQLite is here: how its file is opened, how transactions begin, when they reach the disk. What
is special about PostgreSQL is in `postgresql`.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from slotsmith.store.base import StoreError
from slotsmith.store.errors import told
from slotsmith.store.place import Place

OPTION = "slotsmith_access"
"""The execution option of a connection that says what its transactions are for."""


class Access(StrEnum):
    """What a transaction is for."""

    READ = "read"
    """It sees one state of the database, and blocks nobody."""
    WRITE = "write"
    """It survives the end of the process, and may be lost with the machine's power."""
    DURABLE = "durable"
    """It is on disk when the commit returns, and so is all that was written before it."""
    APART = "apart"
    """As durable, beside the writes of others: for what must not wait for them. With a server only."""


def transactions(engine: Engine, access: Access) -> Engine:
    """The same engine (and pool of connections), whose transactions are for `access`."""
    return engine.execution_options(**{OPTION: access})


def sqlite_engine(place: Place, *, read_only: bool, patience: float) -> Engine:
    """An engine for a SQLite database that exists, or is in memory. Nothing is opened yet.

    `patience`: for how many seconds a connection waits for another program's lock. Safe to use from any thread.
    """
    if place.path is None:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        path = place.path
        engine = create_engine(
            URL.create("sqlite", database=str(path)), creator=lambda: _open_file(path, read_only, patience)
        )
    event.listen(engine, "connect", _set_up_reader if read_only else _set_up_writer)
    event.listen(engine, "begin", _begin)
    return engine


def prepare_file(place: Place, *, create: bool) -> None:
    """See that the database's file is there; make an empty one if it is missing and `create`.

    Raises:
        StoreError: it is missing and may not or cannot be made, or is no file.
    """
    path = place.file
    with told(place):
        if path.is_dir():
            raise StoreError(f"{place} is a directory: name a file in it")
        if path.exists():
            return
        if not create:
            raise StoreError(f"{place} does not exist: correct the path, or start slotsmith run, which makes it")
        path.touch(0o644)


def _open_file(path: Path, read_only: bool, patience: float) -> sqlite3.Connection:
    # Never the mode that creates: a file deleted under a running daemon would come back as an empty database.
    mode = "ro" if read_only else "rw"
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=patience, check_same_thread=False)


def _set_up_reader(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own way begins transactions late and not for every statement; here they begin in `_begin`.
    connection.isolation_level = None


def _set_up_writer(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    _set_up_reader(connection, entry)
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # Readers and the one writer do not wait for each other.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _begin(connection: Connection) -> None:
    access = connection.get_execution_options().get(OPTION, Access.READ)
    if access is Access.READ:
        connection.exec_driver_sql("BEGIN")
        return
    if connection.info.get(OPTION) is not access:
        # In WAL mode FULL syncs the log at each commit, and NORMAL leaves that to the next checkpoint.
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if access is Access.DURABLE else 'NORMAL'}")
        connection.info[OPTION] = access
    # At once, not at the first write: what is read before the write must still hold when it happens.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
