"""The connector for a running Dask scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome, SchedulerContext, SchedulerError
from slotsmith.schedulers.dask.connection import Connection
from slotsmith.schedulers.dask.settings import DaskSettings
from slotsmith.schedulers.dask.view import scaling_info

_WATCH = 20.0  # seconds that one request for news may hang: then a connection that died unnoticed is noticed
_DRAIN = 1.0  # seconds to wait for results to be moved: nearly always enough, and the pool asks again


class DaskScheduler:
    """See `slotsmith.schedulers.base.Scheduler`.

    A plugin in the scheduler keeps the counts; it is installed by whoever connects first, shared by all, and stays.
    News travel on a connection of their own, and so do drains, so that neither keeps the view waiting.
    """

    def __init__(self, settings: DaskSettings, context: SchedulerContext) -> None:
        self.poll_period: float = settings.poll_period
        self._settings = settings
        self._context = context
        self._reads = Connection(settings)
        self._drains = Connection(settings)
        self._news = Connection(settings)
        self._watcher: asyncio.Task[None] | None = None

    async def setup(self) -> None:
        await self.scaling_info()

    async def scaling_info(self) -> ScalingInfo | None:
        report = await self._reads.request("slotsmith_view")
        try:
            info = scaling_info(report, self._settings.slot_resource)
        except (TypeError, ValueError, KeyError) as error:
            raise SchedulerError(
                f"cannot read what the Dask scheduler at {self._settings.address} says: {error}"
            ) from error
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch(), name=f"news of {self._context.pool} from Dask")
        return info

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        if not agents:
            return {}
        answers = await self._drains.request(
            "slotsmith_drain", patience=_DRAIN, agents=list(agents), when_done=when_done
        )
        return {name: DrainAnswer(DrainOutcome(outcome), detail) for name, (outcome, detail) in answers.items()}

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        if agents:
            await self._drains.request("slotsmith_cancel", agents=list(agents))

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for connection in (self._reads, self._drains, self._news):
            await connection.close()

    async def _watch(self) -> None:
        """Wake the pool at all news. Ends when the scheduler is lost; the next good read starts another one."""
        seen = -1
        while True:
            try:
                news = await self._news.request("slotsmith_wait", patience=_WATCH, seen=seen)
            except SchedulerError:
                self._context.wake()  # the pool's own read will tell what is wrong
                return
            if news != seen:
                seen = news
                self._context.wake()
