"""Reading something again and again, and keeping the last answer at hand.

The pool's passes never wait for a listing or a scheduler: an observer reads in its own task, and a pass takes what was
read last. One that fails keeps its last answer, says since when it fails, and tries again more and more slowly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from slotsmith.clock import Clock
from slotsmith.model.instance import Instance
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import Provider, ProviderError
from slotsmith.provisioner.faults import describe
from slotsmith.schedulers.base import Scheduler, TakesViews

T = TypeVar("T")

LIST_DEADLINE: Final = 60.0
"""Seconds for one listing of the provider."""
VIEW_DEADLINE: Final = 30.0
"""Seconds for one read of the scheduler's view."""

# A failing read is repeated after 1, 2, 4 ... seconds, at most this many.
_SLOWEST_RETRY = 30.0

# Requests for a fresh read within this time share one (ten agents that exit at once are one listing).
_GATHER = 0.002


@dataclass(frozen=True, slots=True)
class Observation(Generic[T]):
    """What was read, and when the read began (epoch seconds): what happened after that may not be in it."""

    value: T
    began: float


class Observer(Generic[T]):
    """Reads on request and at the latest after `period` seconds; each read has `deadline` seconds.

    `on_read` is told of each read that worked, and of the first that failed: whether it brought anything new.
    """

    def __init__(
        self,
        what: str,
        read: Callable[[], Awaitable[T]],
        *,
        period: float,
        deadline: float,
        clock: Clock,
        on_read: Callable[[bool], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.latest: Observation[T] | None = None
        self.error: str | None = None
        self.failing_since: float | None = None
        self._what = what
        self._read = read
        self._period = period
        self._deadline = deadline
        self._clock = clock
        self._on_read = on_read
        self._log = log
        self._failures = 0
        self._asked = asyncio.Event()

    def refresh(self) -> None:
        """Ask for a read soon. While one is under way, another follows it: what it missed may be the reason."""
        self._asked.set()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._asked.clear()
            await self.read_once()
            if self.error is not None:
                # Requests do not shorten this wait: whoever is down is not helped by more calls.
                await self._clock.sleep(min(_SLOWEST_RETRY, 2.0 ** (self._failures - 1)))
                continue
            try:
                async with asyncio.timeout(self._period):
                    await self._asked.wait()
                await self._clock.sleep(_GATHER)
            except TimeoutError:
                pass

    async def read_once(self) -> bool:
        """One read, and whether it worked; a failure is logged when it begins, changes or ends, not each time."""
        began = self._clock.now()
        try:
            async with asyncio.timeout(self._deadline):
                value = await self._read()
        except Exception as error:  # noqa: BLE001 - a fault of a plugin must not end the pool, nor stop its other work
            self._failed(describe(error, self._deadline), began)
            return False
        if self.error is not None:
            self._log.info(f"{self._what} works again", failed_for=round(began - (self.failing_since or began), 1))
        last = self.latest
        news = self.error is not None or last is None or value != last.value
        self.error, self.failing_since, self._failures = None, None, 0
        # What is equal stays the same object, so that whoever looks for differences sees at once that there are none.
        self.latest = Observation(value if news or last is None else last.value, began)
        self._on_read(news)
        return True

    def _failed(self, text: str, began: float) -> None:
        self._failures += 1
        if text != self.error:
            self._log.warning(f"{self._what} fails", error=text)
        news = self.error is None
        self.error = text
        self.failing_since = self.failing_since or began
        if news:
            self._on_read(True)


class Surroundings:
    """What a pool sees: its provider's listing and its scheduler's view, each as last read."""

    def __init__(
        self,
        provider: Provider,
        scheduler: Scheduler,
        *,
        clock: Clock,
        on_listing: Callable[[bool], None],
        on_news: Callable[[], None],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._provider = provider
        self._scheduler = scheduler
        self._takes_views = scheduler if isinstance(scheduler, TakesViews) else None
        self._clock = clock
        self._on_news = on_news
        self._scheduler_is_set_up = False
        self._is_taking = False
        self.listings: Observer[tuple[Instance, ...]] = Observer(
            "listing the provider",
            self._list,
            period=provider.poll_period,
            deadline=LIST_DEADLINE,
            clock=clock,
            on_read=on_listing,
            log=log,
        )
        self.views: Observer[ScalingInfo | None] = Observer(
            "reading the scheduler",
            self._read,
            period=scheduler.poll_period,
            deadline=VIEW_DEADLINE,
            clock=clock,
            on_read=lambda news: on_news() if news else None,
            log=log,
        )

    @property
    def info(self) -> ScalingInfo | None:
        """The scheduler's last view; None = it has not said anything yet."""
        return self.views.latest.value if self.views.latest else None

    @property
    def blind(self) -> bool:
        """Whether the scheduler has said nothing yet, or cannot be heard now."""
        return self.info is None or self.views.error is not None

    def push(self, info: ScalingInfo) -> bool:
        """Take a view from a scheduler that pushes; False = it equals the last one.

        Raises:
            TypeError: the scheduler is one that is read.
        """
        if self._takes_views is None:
            raise TypeError("this pool's scheduler is read by its connector, so nothing can be pushed")
        self._is_taking = True
        try:
            if not self._takes_views.push(info):
                return False
        finally:
            self._is_taking = False
        self.views.latest = Observation(info, self._clock.now())
        self._on_news()
        return True

    def scheduler_changed(self) -> None:
        """The scheduler has a new view: read it soon, unless it is the one that is being taken."""
        if not self._is_taking:
            self.views.refresh()

    async def read_both(self) -> None:
        """Read both once, now.

        Raises:
            ProviderError: the instances cannot be listed. A scheduler that cannot be read is only noted.
        """
        await asyncio.gather(self.listings.read_once(), self.views.read_once())
        if self.listings.error is not None:
            raise ProviderError(ErrorKind.TRANSIENT, f"the instances cannot be listed: {self.listings.error}")

    async def _list(self) -> tuple[Instance, ...]:
        return tuple(await self._provider.list_instances())

    async def _read(self) -> ScalingInfo | None:
        if not self._scheduler_is_set_up:
            await self._scheduler.setup()
            self._scheduler_is_set_up = True
        return await self._scheduler.scaling_info()
