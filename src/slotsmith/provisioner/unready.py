"""A pool that is not set up yet: what `status` and `explain` show of it meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from slotsmith.clock import Clock
from slotsmith.model.policy import Policy
from slotsmith.provisioner.summary import summarize_unready
from slotsmith.store.base import Changes, Store, StoreError, StoreRunner

PERIOD: Final = 5.0
"""Seconds between two signs of life."""


class Unready:
    """Says that the daemon works on the pool, and what it waits for."""

    def __init__(self, pool: str, policy: Policy, store: Store, run_store: StoreRunner, clock: Clock) -> None:
        self._pool = pool
        self._policy = policy
        self._store = store
        self._run_store = run_store
        self._clock = clock
        self._news = asyncio.Event()
        self._trouble = "it has not answered yet"

    def failed(self, trouble: str) -> None:
        """The last attempt has failed."""
        self._trouble = trouble
        self._news.set()

    async def tell_for_ever(self) -> None:
        """Keep the pool's summary current, until cancelled."""
        while True:
            self._news.clear()
            await self._tell(stopped=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(PERIOD):
                    await self._news.wait()

    async def stopped(self) -> None:
        """Say that nobody works on the pool any more."""
        await self._tell(stopped=True)

    async def _tell(self, *, stopped: bool) -> None:
        # A store that cannot be written tells nobody; the log does.
        with suppress(StoreError):
            await self._write(stopped)

    async def _write(self, stopped: bool) -> None:
        now = self._clock.now()
        books = await self._run_store(lambda: self._store.load(self._pool))
        last = await self._run_store(lambda: self._store.summary(self._pool))
        summary = summarize_unready(last, self._policy, self._trouble, now)
        # What vanishes before the first listing is taken to have ended at the last heartbeat, so that one stays.
        seen_at = now if books.heartbeat is None else books.heartbeat
        await self._run_store(
            lambda: self._store.commit(Changes(self._pool, seen_at, summary={**summary, "stopped": stopped}))
        )
