"""All pools of a configuration side by side in one event loop, until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from slotsmith.clock import Clock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError

CLOSE_DEADLINE: Final = 10.0
"""Seconds for letting go of a pool's connections."""
FIRST_LOOK: Final = 3.0
"""Seconds for a plain no of a provider; one that takes longer is waited for by the pool itself, which tells of it."""
FIRST_PAUSE: Final = 5.0
"""Seconds until a pool that failed by a fault of the program is started anew; doubled each time."""
LONGEST_PAUSE: Final = 300.0
"""Seconds that the pause grows to. A pool that has worked for longer than this begins with the first pause again."""


class Runner(Protocol):
    """What the daemon needs of a `Provisioner`."""

    async def setup(self) -> None: ...

    async def run(self) -> None: ...

    def stop(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """A pool as it is to be run: `settings` are what a change is noticed by, `make` gives a fresh runner."""

    settings: object
    make: Callable[[], Runner]


@dataclass(slots=True)
class _Place:
    """What the daemon knows of one pool. `wake` ends a pause, because the plan has changed or all is to end."""

    plan: Plan | None
    wake: asyncio.Event
    runner: Runner | None = None
    first: bool = True


class Daemon:
    """Runs one pool for each plan. On SIGHUP, `reload` says what the plans are now; None = what they were.

    With `resting` it runs none before `begin`, and may be told to `rest` again.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        clock: Clock,
        reload: Callable[[], Mapping[str, Plan] | None] = lambda: None,
        *,
        resting: bool = False,
    ) -> None:
        self._resting = resting
        self._changed = asyncio.Event()
        self._places = {pool: _Place(plan, asyncio.Event()) for pool, plan in plans.items()}
        self._clock = clock
        self._reload = reload
        self._log = structlog.get_logger("slotsmith.daemon")
        self._stopping = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._invalid: dict[str, str] = {}

    async def run(self) -> dict[str, str]:
        """Work until stopped. The result is empty, or says for every pool why its provider cannot work as configured.

        A pool whose settings its provider refuses is no reason to stop the others; when there is no other, there is
        nothing to wait for.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        # Only now: whoever reads it may send a signal.
        self._log.info("running", pools=sorted(self._places))
        try:
            self._start_all()
            while self._tasks or (self._resting and not self._stopping.is_set()):
                await self._something_happens()
                self._forget_ended()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
        return self._invalid if self._all_invalid() else {}

    def stop(self) -> None:
        """End all pools cleanly; their instances stay."""
        self._stopping.set()
        self._changed.set()
        for place in self._places.values():
            self._interrupt(place)

    def begin(self) -> None:
        """Run the pools, if they rest and are not to end for good."""
        if self._resting and not self._stopping.is_set():
            self._resting = False
            self._start_all()
            self._changed.set()

    async def rest(self) -> None:
        """End the pools until `begin`; return when none is at work any more."""
        self._resting = True
        for place in self._places.values():
            place.first = True
            self._interrupt(place)
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        self._changed.set()

    def _start_all(self) -> None:
        for pool in self._places:
            self._start(pool)

    async def _something_happens(self) -> None:
        """A pool has ended, or it is to be looked again at which of them run."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait([changed, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        self._changed.clear()

    def reload(self) -> None:
        """Take in changed plans: new pools begin, changed ones begin anew, and those that are gone end."""
        plans = None if self._stopping.is_set() else self._reload()
        if plans is None:
            return
        changes = {"new": [pool for pool in plans if pool not in self._places], "changed": [], "gone": []}
        for pool, place in self._places.items():
            plan = plans.get(pool)
            if place.plan is not None and plan is not None and plan.settings == place.plan.settings:
                continue
            changes["gone" if plan is None else "changed"].append(pool)
            place.plan, place.first = plan, True
            self._invalid.pop(pool, None)
            self._interrupt(place)
        self._log.info("the configuration has been read again; instances stay", **changes)
        for pool in [*changes["new"], *changes["changed"]]:
            self._places.setdefault(pool, _Place(plans[pool], asyncio.Event()))
            self._start(pool)

    def _start(self, pool: str) -> None:
        running = self._tasks.get(pool)
        if not self._resting and (running is None or running.done()):
            self._tasks[pool] = asyncio.create_task(self._keep(pool, self._places[pool]), name=f"pool {pool}")

    def _forget_ended(self) -> None:
        for pool, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[pool]
                if self._places[pool].plan is None:
                    del self._places[pool]

    def _interrupt(self, place: _Place) -> None:
        place.wake.set()
        if place.runner is not None:
            place.runner.stop()

    def _all_invalid(self) -> bool:
        return len(self._invalid) == len(self._places)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            # Whatever hangs is of no interest now: all that matters is on record, and the lock ends with the process.
            os._exit(128 + number)
        self._log.info("stopping; instances stay", signal=number.name)
        self.stop()

    async def _keep(self, pool: str, place: _Place) -> None:
        """Run a pool, and run it anew when a fault of the program ends it, or a changed plan."""
        pause, failed = FIRST_PAUSE, False
        while not (self._stopping.is_set() or self._resting) and (plan := place.plan) is not None:
            began = self._clock.now()
            place.wake.clear()
            try:
                await self._run_once(pool, place, plan)
            except Exception as error:  # noqa: BLE001 - a fault of ours or of a plugin, and the other pools go on
                worked = self._clock.now() - began
                pause = min(LONGEST_PAUSE, 2 * pause) if failed and worked <= LONGEST_PAUSE else FIRST_PAUSE
                self._log.exception("pool has failed, starting it anew", pool=pool, error=str(error), pause=pause)
                place.first, failed = False, True
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await place.wake.wait()
            else:
                failed = False
                if place.plan is plan:
                    return

    async def _run_once(self, pool: str, place: _Place, plan: Plan) -> None:
        runner = place.runner = plan.make()
        try:
            if place.first:
                await self._set_up(pool, place, runner)
            if not place.wake.is_set():
                await runner.run()
        finally:
            place.runner = None
            await self._close(pool, runner)

    async def _set_up(self, pool: str, place: _Place, runner: Runner) -> None:
        """The first set-up. Only a plain no of the provider counts; whatever else fails, the runner waits out."""
        stopped = asyncio.create_task(place.wake.wait())
        done = asyncio.create_task(runner.setup())
        try:
            await asyncio.wait((stopped, done), timeout=FIRST_LOOK, return_when=asyncio.FIRST_COMPLETED)
            error = done.exception() if done.done() else None
        finally:
            stopped.cancel()
            done.cancel()
            await asyncio.gather(stopped, done, return_exceptions=True)
        if isinstance(error, ProviderError) and error.kind is ErrorKind.INVALID:
            self._invalid[pool] = str(error)
            if self._all_invalid():
                self.stop()

    async def _close(self, pool: str, runner: Runner) -> None:
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await runner.close()
        except Exception as error:  # noqa: BLE001 - the pool has ended; what does not close ends with the process
            self._log.warning("connections did not close", pool=pool, error=str(error) or type(error).__name__)
