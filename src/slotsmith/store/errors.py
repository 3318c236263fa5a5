"""What went wrong with a database, in one line that names the store and says what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from slotsmith.store.base import StoreError

_READ_ONLY = "is read-only: make the file and its directory writable for this user"
_FULL = "has no room: its disk is full; free some space, then try again"
_MISSING = "cannot be opened: its directory does not exist; create it, or correct the path"
_BUSY = "is locked by another program: stop that program, or wait until it is done, then try again"

_SQLITE: dict[int, str] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: "could not be read or written (disk I/O error): see that its disk has room and is healthy",
    sqlite3.SQLITE_CORRUPT: "is damaged: move it away, and put a backup in its place or start with a new one",
    sqlite3.SQLITE_NOTADB: "is not a database: move that file away, or name another one",
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened: see that it exists and that this user may write to it and to its directory"
    ),
}
"""By primary result code of SQLite."""

_SYSTEM: dict[int, str] = {
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _MISSING,
}
"""By errno, for what is done to files without SQLite."""

_POSTGRESQL: dict[str, str] = {
    "53100": _FULL,
    "53200": "has no memory left: see to its server",
    "53300": "takes no more connections: raise its max_connections, or end what holds them",
    "55P03": _BUSY,
    "57014": "took too long to answer: see what else works on its server",
    "25006": "is read-only: name the server that takes writes",
    "25P03": "has cut off this process, which stood still in the middle of a write",
    "42501": "may not be used like this by its user: grant all rights on the schema to it",
    "57P01": "is being shut down: its server will have to be started again",
    "57P02": "has crashed: its server will have to be started again",
    "57P03": "is starting or stopping: its server takes no connections yet",
}
"""By SQLSTATE."""


class Unusable(Exception):  # noqa: N818 - users see it as a StoreError
    """The database works, and holds what cannot be used. The text goes on from the store's name, as below."""


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def explanation(error: BaseException) -> str:
    """What happened and what to do, as the rest of a sentence that begins with the store's name."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        # The wrapper's own text holds the statement and its values, which are of no use to the reader.
        return explanation(error.orig)
    if hasattr(error, "sqlstate"):
        return _of_postgresql(error)
    if isinstance(error, sqlite3.Error):
        # Errors of the driver itself carry no code.
        code = getattr(error, "sqlite_errorcode", None)
        known = _SQLITE.get(code & 0xFF) if code is not None else None
        return known or f"failed: {_one_line(error)}"
    if isinstance(error, OSError):
        known = _SYSTEM.get(error.errno) if error.errno is not None else None
        return known or f"failed: {_one_line(error.strerror or error)}"
    return _one_line(error) if isinstance(error, Unusable) else f"failed: {_one_line(error)}"


def _of_postgresql(error: BaseException) -> str:
    """By what the driver's errors have, so that this works without the driver."""
    state: str | None = getattr(error, "sqlstate", None)
    if state is not None and not state.startswith("08"):
        return _POSTGRESQL.get(state) or f"failed: {_one_line(error)}"
    # The server has said nothing that it could be known by: there is no connection, or it broke.
    said = _one_line(error).removeprefix("connection failed: ")
    return f"cannot be reached ({said}): see that its server runs, the database exists, and its user may connect"


@contextmanager
def told(place: object) -> Iterator[None]:
    """Raise what a database, its file system or what it holds raises inside as a `StoreError` about `place`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, Unusable) as error:
        raise StoreError(f"{place} {explanation(error)}") from error
