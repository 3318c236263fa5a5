"""All pools of a configuration side by side in one event loop, until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
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


class Daemon:
    """Runs one pool for each of `makers`, which give a fresh runner at each call."""

    def __init__(self, makers: Mapping[str, Callable[[], Runner]], clock: Clock) -> None:
        self._makers = makers
        self._clock = clock
        self._log = structlog.get_logger("slotsmith.daemon")
        self._stopping = asyncio.Event()
        self._running: dict[str, Runner] = {}
        self._invalid: dict[str, str] = {}

    async def run(self) -> dict[str, str]:
        """Work until stopped. The result is empty, or says for every pool why its provider cannot work as configured.

        A pool whose settings its provider refuses is no reason to stop the others; when there is no other, there is
        nothing to wait for.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await asyncio.gather(*(self._keep(pool) for pool in self._makers))
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self._invalid if len(self._invalid) == len(self._makers) else {}

    def stop(self) -> None:
        """End all pools cleanly; their instances stay."""
        self._stopping.set()
        for runner in self._running.values():
            runner.stop()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            # Whatever hangs is of no interest now: all that matters is on record, and the lock ends with the process.
            os._exit(128 + number)
        self._log.info("stopping; instances stay", signal=number.name)
        self.stop()

    async def _keep(self, pool: str) -> None:
        """Run a pool, and run it anew when a fault of the program ends it."""
        pause, first = FIRST_PAUSE, True
        while not self._stopping.is_set():
            began = self._clock.now()
            try:
                await self._run_once(pool, first)
            except Exception as error:  # noqa: BLE001 - a fault of ours or of a plugin, and the other pools go on
                worked = self._clock.now() - began
                pause = FIRST_PAUSE if first or worked > LONGEST_PAUSE else min(LONGEST_PAUSE, 2 * pause)
                self._log.exception("pool has failed, starting it anew", pool=pool, error=str(error), pause=pause)
                first = False
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
            else:
                return

    async def _run_once(self, pool: str, first: bool) -> None:
        runner = self._makers[pool]()
        self._running[pool] = runner
        try:
            if first:
                await self._set_up(pool, runner)
            if not self._stopping.is_set():
                await runner.run()
        finally:
            del self._running[pool]
            await self._close(pool, runner)

    async def _set_up(self, pool: str, runner: Runner) -> None:
        """The first set-up. Only a plain no of the provider counts; whatever else fails, the runner waits out."""
        stopped = asyncio.create_task(self._stopping.wait())
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
            if len(self._invalid) == len(self._makers):
                self.stop()

    async def _close(self, pool: str, runner: Runner) -> None:
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await runner.close()
        except Exception as error:  # noqa: BLE001 - the pool has ended; what does not close ends with the process
            self._log.warning("connections did not close", pool=pool, error=str(error) or type(error).__name__)
