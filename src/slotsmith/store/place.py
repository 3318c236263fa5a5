"""Where a store is: its URL, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from slotsmith.store.base import StoreError

_DRIVERS = ("sqlite", "sqlite+pysqlite")
_EXPECTED = "write sqlite:///PATH"


@dataclass(frozen=True, slots=True)
class Place:
    """A database; `path` is the absolute path of its file, None when it has none. Prints as `store PATH`."""

    name: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"store {self.name}"

    @property
    def file(self) -> Path:
        """The path of a database that is known to be a file."""
        assert self.path is not None
        return self.path

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a URL names: `sqlite:///PATH` (relative to the working directory) or `sqlite://` (memory).

        Raises:
            StoreError: it is not a URL, or names something that this version cannot use.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:
            # What cannot be read may still hold a password.
            shown = re.sub(r"//.*@", "//***@", url)
            raise StoreError(f"store {shown} is not the URL of a database: {_EXPECTED}") from error
        shown = parsed.render_as_string(hide_password=True)
        _check(parsed, shown)
        if parsed.database in (None, "", ":memory:"):
            return cls("in memory")
        # As it is written: whether escapes in it are resolved differs between versions of the parser.
        path = Path(url.partition(":///")[2]).absolute()
        return cls(str(path), path)


def _check(url: URL, shown: str) -> None:
    if url.drivername not in _DRIVERS:
        raise StoreError(f"store {shown} is of the kind {url.drivername!r}, which this version cannot use: {_EXPECTED}")
    if url.host:
        raise StoreError(f"store {shown} names a host, and SQLite has none: {_EXPECTED}, with three slashes")
    if url.query:
        raise StoreError(f"store {shown} has options after its path, and takes none: {_EXPECTED}")
