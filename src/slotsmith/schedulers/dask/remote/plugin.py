"""The plugin: hears what changes in the scheduler, and answers the connector's requests."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from . import stealing
from .drains import Drains, pause
from .report import report
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed.scheduler import Scheduler

FAMILY = "slotsmith-"  # every version's name begins with it
_BETWEEN_NEWS = 0.05  # seconds
_logger = logging.getLogger("distributed.slotsmith")


class ScalingPlugin(SchedulerPlugin):
    """One version of the plugin; it takes the place, and the workers out of service, of any other version."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self, scheduler: Scheduler) -> None:
        out: dict[str, str] = {}
        for name, other in list(scheduler.plugins.items()):
            if name.startswith(FAMILY):
                out.update(other.stop())  # type: ignore[attr-defined]  # it is one of ours
                del scheduler.plugins[name]
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._tally = Tally(scheduler)
        self._drains = Drains(scheduler, out)
        self._news = 0
        self._news_due = False
        self._last_news = 0.0
        self._heard = asyncio.Event()
        scheduler.handlers.update(
            {
                "slotsmith_view": self.view,
                "slotsmith_wait": self.wait,
                "slotsmith_drain": self.drain,
                "slotsmith_cancel": self.cancel,
                "slotsmith_check": self.check,
            }
        )
        _logger.info("Plugin %s counts tasks for slotsmith", self.name)

    def stop(self) -> dict[str, str]:
        """Let go; the workers that are out of service stay so, and are returned for the successor."""
        self._tell()
        return self._drains.close()

    async def before_close(self) -> None:
        self._tell()

    # --- what the scheduler tells ---

    def transition(self, key: Any, start: Any, finish: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self._tally.move(key, finish):
            self._changed()

    def log_event(self, topic: str, msg: Any) -> None:
        if topic == "stealing" and msg[0] == "confirm" and self._tally.moved_by_theft(msg[1]):
            self._changed()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        self._tally.place(scheduler.workers[worker])
        self._changed()

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:  # noqa: ARG002
        self._tally.forget(worker)
        self._drains.forget(worker)
        self._changed()

    def restart(self, scheduler: Scheduler) -> None:  # noqa: ARG002
        self._tally.scan()
        self._changed()

    # --- what the connector asks ---

    def view(self) -> dict[str, Any]:
        """See `report`."""
        if self._scheduler.plugins.get(self.name) is not self:
            # Somebody has unregistered us, and we have missed what happened since.
            self._scheduler.add_plugin(self, name=self.name)
            self._tally.scan()
        self._tally.mend()
        stealing.spread(self._scheduler)
        return report(self._scheduler, self._tally)

    async def wait(self, seen: int, patience: float) -> int:
        """The number of the last news as soon as it differs from `seen`, at the latest after `patience` seconds."""
        if self._news == seen:
            await pause(self._heard, patience)
        return self._news

    async def drain(self, agents: Sequence[str], when_done: bool, patience: float) -> dict[str, Any]:
        """See `Drains.drain`."""
        return await self._drains.drain(agents, when_done, patience)

    def cancel(self, agents: Sequence[str]) -> bool:
        """See `Drains.cancel`."""
        self._drains.cancel(agents)
        return True

    def check(self) -> dict[str, Any]:
        """Compare the counts with a search through all tasks; for tests and for the curious, it takes its time."""
        return {"differences": self._tally.differences(), "repairs": self._tally.repairs, "name": self.name}

    # --- news ---

    def _changed(self) -> None:
        """Something may have changed: tell it now, or as soon as the last news is old enough."""
        if not self._news_due:
            self._news_due = True
            self._loop.call_at(self._last_news + _BETWEEN_NEWS, self._tell)

    def _tell(self) -> None:
        self._news_due = False
        self._last_news = self._loop.time()
        self._news += 1
        self._heard.set()
        self._heard = asyncio.Event()
