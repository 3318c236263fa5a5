"""A provider for a lab whose machines may be borrowed: an instance is a loan of one of them.

    provider: {type: lab, book: /srv/lab/loans.db, machines: [desk-1, desk-2, desk-3], slots: 2}

A small program on each machine looks into the book, and runs the scheduler's worker, under the machine's name, while
the machine is lent. So an agent is called like its machine.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.providers.base import (
    LaunchRequest,
    LaunchResult,
    ProviderContext,
    ProviderError,
    ProviderPlugin,
    ProviderSettings,
)

TABLE = """
CREATE TABLE IF NOT EXISTS loans (
    id TEXT PRIMARY KEY, machine TEXT NOT NULL, owner TEXT NOT NULL, token TEXT NOT NULL, since REAL NOT NULL,
    returned INTEGER NOT NULL DEFAULT 0
)
"""


class LabSettings(ProviderSettings):
    """The keys of the `provider:` block. An unknown key or a wrong value is told with its file and line."""

    type: Literal["lab"] = "lab"
    book: Path = Field(description="the SQLite file that the machines look into")
    machines: tuple[str, ...] = Field(min_length=1, description="the machines that may be borrowed")
    slots: int = Field(default=1, ge=0)


class Lab:
    """Satisfies `slotsmith.providers.base.Provider`; it needs no base class."""

    poll_period = 30.0
    consistency_window = 0.0  # what is in the book is listed at once
    token_lifetime = math.inf  # the book forgets nothing

    def __init__(self, settings: LabSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._clock = context.clock
        self._owner = f"{context.cluster}/{context.pool}"
        self._offering = Offering("lab", Resources(slots=settings.slots))

    async def setup(self) -> None:
        if not self._settings.book.parent.is_dir():
            raise ProviderError(ErrorKind.INVALID, f"{self._settings.book.parent} is not a directory")
        await self._in_book(lambda book: book.execute(TABLE))

    def offerings(self) -> Sequence[Offering]:
        return (self._offering,)

    async def list_instances(self) -> Sequence[Instance]:
        loans = "SELECT id, machine, token, since FROM loans WHERE owner = ? AND NOT returned ORDER BY since, id"
        rows = await self._in_book(lambda book: book.execute(loans, (self._owner,)).fetchall())
        name, capacity = self._offering.name, self._offering.capacity
        return [
            Instance(id_, InstanceState.RUNNING, since, machine, token, name, capacity)
            for id_, machine, token, since in rows
        ]

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        if request.offering.name != self._offering.name:
            raise ProviderError(ErrorKind.INVALID, f"{request.offering.name} is not on offer here")
        ids = await self._in_book(lambda book: self._lend(book, request.token, request.count))
        if len(ids) == request.count:
            return LaunchResult(ids)
        shortfall = ProviderError(ErrorKind.CAPACITY, f"{len(ids)} of {request.count} machines could be borrowed")
        if not ids:
            raise shortfall
        return LaunchResult(ids, shortfall)

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        rows = [(id_, self._owner) for id_ in instance_ids]
        # An id that is not in the book changes nothing: it is gone, which is what was asked for.
        await self._in_book(
            lambda book: book.executemany("UPDATE loans SET returned = 1 WHERE id = ? AND owner = ?", rows)
        )
        return {}

    async def close(self) -> None:
        """Nothing is held open."""

    def _lend(self, book: sqlite3.Connection, token: str, count: int) -> tuple[str, ...]:
        """The loans of this token. It is asked and answered in one transaction, so a token never lends twice."""
        known = book.execute("SELECT id FROM loans WHERE token = ? AND owner = ? ORDER BY id", (token, self._owner))
        if ids := tuple(id_ for (id_,) in known):
            return ids
        lent = {machine for (machine,) in book.execute("SELECT machine FROM loans WHERE NOT returned")}
        free = [machine for machine in self._settings.machines if machine not in lent][:count]
        now = self._clock.now()
        loans = [(f"{machine}.{token}", machine, self._owner, token, now) for machine in free]
        book.executemany("INSERT INTO loans (id, machine, owner, token, since) VALUES (?, ?, ?, ?, ?)", loans)
        return tuple(loan[0] for loan in loans)

    async def _in_book(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run one transaction in a thread, because the event loop serves other pools too.

        A caller that has stopped waiting does not stop the thread: what it did is found by the next call.
        """

        def run() -> Any:
            with closing(sqlite3.connect(self._settings.book, timeout=10, isolation_level=None)) as book:
                book.execute("BEGIN IMMEDIATE")
                with book:  # commits, or rolls back when something is raised
                    return work(book)

        try:
            return await asyncio.to_thread(run)
        except sqlite3.OperationalError as error:
            raise ProviderError(ErrorKind.TRANSIENT, f"{self._settings.book}: {error}") from error


plugin = ProviderPlugin(LabSettings, Lab)
