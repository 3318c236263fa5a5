"""Where a store is: its URL, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from slotsmith.store.base import StoreError

_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL = ("postgresql", "postgresql+psycopg")
_EXPECTED = "write sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"
_SHORT = "write sqlite:///PATH"


@dataclass(frozen=True, slots=True)
class Place:
    """A database. `path`: the absolute path of its file; `server`: its URL when a server has it; without either it is
    in memory. Prints as `store PATH` or `store URL`, without a password.
    """

    name: str
    path: Path | None = None
    server: URL | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"store {self.name}"

    @property
    def file(self) -> Path:
        """The path of a database that is known to be a file."""
        assert self.path is not None
        return self.path

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a URL names: `sqlite:///PATH` (relative to the working directory), `sqlite://` (memory) or
        `postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE`.

        Raises:
            StoreError: it is not a URL, or names something that this version cannot use.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:
            # What cannot be read may still hold a password.
            shown = re.sub(r"//.*@", "//***@", url)
            raise StoreError(f"store {shown} is not the URL of a database: {_EXPECTED}") from error
        shown = _shown(parsed)
        if parsed.drivername in _POSTGRESQL:
            if not parsed.database:
                raise StoreError(f"store {shown} names no database: {_EXPECTED}")
            return cls(shown, server=parsed.set(drivername=_POSTGRESQL[-1]))
        _check_sqlite(parsed, shown)
        if parsed.database in (None, "", ":memory:"):
            return cls("in memory")
        # As it is written: whether escapes in it are resolved differs between versions of the parser.
        path = Path(url.partition(":///")[2]).absolute()
        return cls(str(path), path)


def _shown(url: URL) -> str:
    """A URL for people: options may hold a password as well."""
    hidden = {key: "***" for key in url.query if "password" in key.lower()}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _check_sqlite(url: URL, shown: str) -> None:
    if url.drivername not in _SQLITE:
        raise StoreError(f"store {shown} is of the kind {url.drivername!r}, which this version cannot use: {_EXPECTED}")
    if url.host:
        raise StoreError(f"store {shown} names a host, and SQLite has none: {_SHORT}, with three slashes")
    if url.query:
        raise StoreError(f"store {shown} has options after its path, and takes none: {_SHORT}")
