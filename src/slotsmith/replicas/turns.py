"""Running what only the leader runs, for as long as this replica leads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from slotsmith.clock import Clock
from slotsmith.replicas.candidate import Candidate
from slotsmith.store.base import StoreError, StoreRunner


class Pools(Protocol):
    """What a leader runs."""

    def begin(self) -> None:
        """Begin to run the pools. Without effect when they run, or are to end for good."""
        ...

    async def rest(self) -> None:
        """End them, and return when nothing of them is at work any more."""
        ...


class Turns:
    """Sees to it that `pools` run while this replica leads, and only then. `on_rest` is called when they have ended."""

    def __init__(
        self,
        candidate: Candidate,
        pools: Pools,
        run_store: StoreRunner,
        clock: Clock,
        on_rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_rest = on_rest
        self._candidate = candidate
        self._pools = pools
        self._run_store = run_store
        self._clock = clock
        self._log = structlog.get_logger("slotsmith.replicas")
        self._told: str | None = None
        self._error: str | None = None

    async def take(self) -> None:
        """Step after step, until cancelled."""
        while True:
            led = self._candidate.lease is not None
            await self._candidate.step()
            self._tell()
            leads = self._candidate.lease is not None
            if leads and not led:
                self._pools.begin()
            elif led and not leads:
                await self._pools.rest()
                # What was begun under the old lease must not be written under the next one.
                await self._settled(self._writes_done)
                self._on_rest()
            await self._clock.sleep(self._candidate.pause)

    async def _writes_done(self) -> None:
        await self._run_store(lambda: None)

    async def _settled(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await work()
            except StoreError as error:
                self._log.warning("waiting for the last writes to end", error=str(error))

    def _tell(self) -> None:
        error, leader = self._candidate.error, self._candidate.leader
        if error is not None and error != self._error:
            self._log.error("the lease cannot be read or kept", error=error)
        self._error = error
        who = "nobody" if leader is None else leader.holder
        if error is None and who != self._told:
            self._told = who
            if self._candidate.lease is not None:
                self._log.info("this replica leads", holder=who, fence=self._candidate.lease.fence)
            else:
                self._log.info("this replica waits", leader=who)
