"""A pool that is not set up yet: trying again, and what `status` and `explain` show of it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from slotsmith.clock import Clock
from slotsmith.model.policy import Policy
from slotsmith.provisioner.faults import describe
from slotsmith.provisioner.summary import summarize_unready
from slotsmith.store.base import Changes, Store, StoreError, StoreRunner

PERIOD: Final = 5.0
"""Seconds between two signs of life."""
_AT_ONCE: Final = 1.0
"""Seconds within which most pools are set up: there is nothing to tell of them."""
_SLOWEST_RETRY: Final = 30.0


class Unready:
    """Sets the pool up, and says meanwhile that the daemon works on it, and what it waits for."""

    def __init__(
        self,
        pool: str,
        policy: Policy,
        store: Store,
        run_store: StoreRunner,
        clock: Clock,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._store = store
        self._run_store = run_store
        self._clock = clock
        self._log = log
        self._news = asyncio.Event()
        self._trouble = "it has not answered yet"

    async def set_up(self, set_up: Callable[[], Awaitable[None]], deadline: float, stopping: asyncio.Event) -> bool:
        """Call `set_up` (which has `deadline` seconds) until it works; False when stopped before."""
        telling = asyncio.create_task(self._tell_for_ever())
        trying = asyncio.create_task(self._try(set_up, deadline))
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((trying, stopped), return_when=asyncio.FIRST_COMPLETED)
            done = trying.done()
        finally:
            for task in (telling, trying, stopped):
                task.cancel()
            await asyncio.gather(telling, trying, stopped, return_exceptions=True)
        if not done:
            await self._tell(stopped=True)
        return done

    async def _try(self, set_up: Callable[[], Awaitable[None]], deadline: float) -> None:
        failures = 0
        while True:
            try:
                await set_up()
            except Exception as error:  # noqa: BLE001 - a pool whose provider or store is not ready waits for it
                self._trouble = describe(error, deadline)
                self._log.error("cannot start yet, trying again", error=self._trouble)
                self._news.set()
            else:
                return
            await self._clock.sleep(min(_SLOWEST_RETRY, 2.0**failures))
            failures += 1

    async def _tell_for_ever(self) -> None:
        pause = _AT_ONCE
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
            self._news.clear()
            await self._tell(stopped=False)
            pause = PERIOD

    async def _tell(self, *, stopped: bool) -> None:
        # A store that cannot be written tells nobody; the log does.
        with suppress(StoreError):
            await self._write(stopped)

    async def _write(self, stopped: bool) -> None:
        now = self._clock.now()
        books = await self._run_store(lambda: self._store.load(self._pool))
        last = await self._run_store(lambda: self._store.summary(self._pool))
        summary = summarize_unready(last, books, self._policy, self._trouble, now)
        # What vanishes before the first listing is taken to have ended at the last heartbeat, so that one stays.
        seen_at = now if books.heartbeat is None else books.heartbeat
        await self._run_store(
            lambda: self._store.commit(Changes(self._pool, seen_at, summary={**summary, "stopped": stopped}))
        )
