"""Opening the store for a command, and choosing among the pools in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import known_name, read
from slotsmith.clock import SystemClock
from slotsmith.model.durations import parse_duration
from slotsmith.reports.report import PoolReport
from slotsmith.text import hide_password, one_line

if TYPE_CHECKING:
    from slotsmith.store.base import Store
    from slotsmith.store.sql import SqlStore


def open_writable(url: str) -> SqlStore:
    """The store, made when it is not there. What cannot be used is bad input."""
    return _open(url, read_only=False)


def open_readable(url: str) -> SqlStore:
    """The store as it is, for reading beside a daemon."""
    return _open(url, read_only=True)


def _open(url: str, *, read_only: bool) -> SqlStore:
    from slotsmith.store.base import StoreError
    from slotsmith.store.sql import open_store

    try:
        return open_store(url, create=not read_only, read_only=read_only)
    except StoreError as error:
        raise CommandError(one_line(str(error))) from error


def start_of(since: str) -> float:
    """When a record begins that goes back by what `--since` says, in epoch seconds."""
    try:
        return SystemClock().now() - parse_duration(since)
    except ValueError as error:
        raise CommandError(f"--since: {one_line(str(error))}") from error


@dataclass(frozen=True, slots=True)
class Source:
    """Where reports come from: a store, and the pools of the configuration in their order (None = not read)."""

    url: str
    configured: tuple[str, ...] | None
    place: str

    @classmethod
    def of(cls, config: Path, store: str | None) -> Source:
        """The store at the URL `store`, or else the one that the configuration names."""
        if store is not None:
            return cls(store, None, f"the store {hide_password(store)}")
        settings = read(config)
        return cls(settings.store.url, tuple(pool.name for pool in settings.pools), str(config))

    def names(self, store: Store, wanted: str | None) -> list[str]:
        """The pool that is wanted, or all: those of the configuration, then what else the store has books of."""
        configured = list(self.configured or ())
        names = configured + [name for name in store.pools() if name not in configured]
        return names if wanted is None else [known_name(wanted, names, self.place)]

    def one(self, store: Store, wanted: str | None) -> str:
        """The pool that is wanted, or the only one."""
        names = self.names(store, wanted)
        if len(names) != 1:
            told = f"{len(names)} pools, say which: {', '.join(names)}" if names else "no pools"
            raise CommandError(f"{self.place} has {told}")
        return names[0]

    def report(self, store: Store, name: str) -> PoolReport:
        """What the store says of a pool."""
        configured = None if self.configured is None else name in self.configured
        return PoolReport(name, configured, store.summary(name))
