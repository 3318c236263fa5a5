"""What a standby knows of the pools: the summaries that the leader puts on record, read from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.service.context import Service
from slotsmith.store.base import StoreError
from slotsmith.store.sql import SqlStore

PERIOD: Final = 1.0
"""Seconds between two looks at the store."""


class Follower:
    """Tells the service's hub what another replica has written, while that one leads."""

    def __init__(self, service: Service, store: SqlStore, clock: Clock) -> None:
        self._service = service
        self._store = store
        self._clock = clock
        self._marks: Mapping[str, str] = {}
        self._log = structlog.get_logger("slotsmith.service")

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            if self._service.leads:
                self._marks = {}
            else:
                await self._look()
            await self._clock.sleep(PERIOD)

    async def _look(self) -> None:
        try:
            marks = await self._service.run_read(self._store.summary_marks)
            for pool in [pool for pool, mark in marks.items() if self._marks.get(pool) != mark]:
                summary: Mapping[str, Any] | None = await self._service.run_read(partial(self._store.summary, pool))
                if summary is not None and not self._service.leads:
                    self._service.hub.seen(pool, summary)
            self._marks = marks
        except StoreError as error:
            # The lease, which is read more often, tells of it.
            self._log.debug("the store cannot be read", error=str(error))


@asynccontextmanager
async def following(service: Service, store: SqlStore) -> AsyncIterator[None]:
    """Follow the leader while the service runs, and is one of several replicas."""
    if service.replica is None:
        yield
        return
    task = asyncio.create_task(Follower(service, store, service.clock).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
