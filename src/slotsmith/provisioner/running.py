"""What a pool's `run` consists of: passes when they are due, drains and terminations beside them, and what others see.

What a pass does stands in `pool`; how soon the next one follows, in `pace`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

import structlog

from slotsmith.clock import Clock
from slotsmith.core.rules import Rules
from slotsmith.provisioner.observer import Surroundings
from slotsmith.provisioner.pace import GATHER, Pace
from slotsmith.provisioner.pool import Pool
from slotsmith.provisioner.recorder import Bookkeeping
from slotsmith.provisioner.searching import Searching
from slotsmith.store.base import StoreError

LONGEST_PAUSE: Final = 300.0
"""Seconds between two passes, at most: all that could change a decision wakes the pool, so this is only for safety."""
_STORE_RETRY: Final = 1.0
_BREATH: Final = 9.0
"""The pause after a summary, at least, in times of what it took."""


class Waking:
    """What wakes a pool's passes. `news` is set while something has come that no pass has taken in."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.is_urgent = False

    def wake(self) -> None:
        """Something is new."""
        self.news.set()

    def wake_at_once(self) -> None:
        """An answer: they come as seldom as the pool asks, and a refusal is to be made good for elsewhere at once."""
        self.is_urgent = True
        self.news.set()

    def taken_in(self) -> None:
        """A pass begins that looks at all there is."""
        self.is_urgent = False
        self.news.clear()


class Running:
    """One pool that works. `on_pass` and `around_pass`: see `Provisioner`."""

    def __init__(
        self,
        pool: Pool,
        surroundings: Surroundings,
        waking: Waking,
        *,
        rules: Rules,
        searching: Searching,
        pace: Pace,
        bookkeeping: Bookkeeping,
        clock: Clock,
        on_pass: Callable[[float], None],
        around_pass: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        self._pool = pool
        self._surroundings = surroundings
        self._waking = waking
        self._rules = rules
        self._searching = searching
        self._pace = pace
        self._bookkeeping = bookkeeping
        self._clock = clock
        self._on_pass = on_pass
        self._around_pass = around_pass
        self._passed = asyncio.Event()
        self._pass_began = self._passed_at = -math.inf
        self._passes = 0

    async def until(self, stopping: asyncio.Event) -> None:
        """Work until that is set; instances stay. Trouble with the provider, scheduler or store is waited out."""
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work)
            for work in (
                self._surroundings.listings.run(),
                self._surroundings.views.run(),
                self._pass_forever(),
                self._step_forever(self._pool.terminator.drain, self._pool.drain_due),
                self._step_forever(self._pool.terminator.terminate, self._pool.termination_due),
                self._summarize_forever(),
                stopping.wait(),
                *([self._pool.recorder.write_in_time()] if self._bookkeeping.write_period else []),
            )
        ]
        try:
            self._pool.resume_launches()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a fault of our own, which must not be silent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._pool.wind_down()

    async def _pass_forever(self) -> None:
        """Pass after pass: when woken, and when a period ends."""
        while True:
            await self._wait_for_reason()
            if self._surroundings.listings.latest is None:
                self._pool.observe(self._clock.now())
                continue
            try:
                await self._run_pass()
                self._passed_at = self._clock.now()
                self._passed.set()
            except StoreError as error:
                # Nothing was launched that is not on record; what was seen is still pending.
                self._pool.recorder.failed(error)
                await self._clock.sleep(_STORE_RETRY)
                self._waking.wake()

    async def _run_pass(self) -> None:
        # What comes while a pass is being written waits no longer for the next one than what comes after it.
        began = self._pass_began = self._clock.now()
        waited = self._searching.waited
        self._passes += 1
        # Whatever a pass begins logs with its number too.
        with structlog.contextvars.bound_contextvars(**{"pass": self._passes}), self._around_pass(self._passes):
            await self._pool.run_pass()
        took = self._clock.now() - began - (self._searching.waited - waited)
        self._pace.passed(took, self._clock.now())
        self._on_pass(took)

    async def _wait_for_reason(self) -> None:
        now = self._clock.now()
        deadline = now + LONGEST_PAUSE
        due = self._pool.next_deadline(now)
        if due is not None:
            # Periods are over strictly after their end.
            deadline = min(deadline, due + 0.001)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - now)):
                await self._waking.news.wait()
        now = self._clock.now()
        gather = GATHER if self._waking.is_urgent else self._pace.gather(now)
        soonest = max(now, self._passed_at + GATHER, self._pass_began + gather)
        await self._clock.sleep(self._rules.next_tick(soonest) - now)
        self._waking.taken_in()

    async def _step_forever(self, step: Callable[[], Awaitable[float | None]], due: asyncio.Event) -> None:
        """Step after step: when one is due, and after the seconds that the last one said."""
        while True:
            due.clear()
            try:
                wait = await step()
            except StoreError as error:
                self._pool.recorder.failed(error)
                wait = _STORE_RETRY
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await due.wait()

    async def _summarize_forever(self) -> None:
        """Keep `status`, `explain` and the sign of life current, beside the passes and never in their way."""
        pause = self._bookkeeping.summary_period
        while True:
            await self._clock.sleep(pause)
            self._passed.clear()
            began = self._clock.now()
            try:
                await self._pool.recorder.flush()
                await self._pool.summarize()
            except StoreError as error:
                # Nobody else may have a reason to write soon.
                self._pool.recorder.failed(error)
                continue
            pause = max(self._bookkeeping.summary_period, _BREATH * (self._clock.now() - began))
            # There is no pass before the first listing, and what keeps it away is worth telling.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._bookkeeping.sign_of_life):
                    await self._passed.wait()
