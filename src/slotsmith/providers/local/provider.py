"""Instances that are process groups on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderContext, ProviderError
from slotsmith.providers.local.ending import Endings
from slotsmith.providers.local.errors import provider_error
from slotsmith.providers.local.launching import Launcher
from slotsmith.providers.local.records import Records, Seen
from slotsmith.providers.local.settings import LocalSettings
from slotsmith.providers.local.supervisors import reap
from slotsmith.providers.local.watch import ExitWatch

# How soon to look again where no event tells of a change (an agent about to start, a group about to end): after as
# long as it has taken so far, so that a short wait is seen at once and a long one costs little.
_SOONEST_LOOK = 0.01
_LATEST_LOOK = 0.5
_TIDY_PERIOD = 60.0


class LocalProvider:
    """One pool's instances on this machine. `Provider` says what the methods promise.

    All that is known of instances is on disk and in the process table, so that any number of these objects, in any
    process, see the same. A background task, started by the first call, tells of changes and follows terminations up.
    """

    poll_period = 10.0
    """Changes are told of at once; a poll is only there for what another program does to the same pool."""
    consistency_window = 0.0
    """A launch that was answered is listed at once, and what is not listed is gone. One whose launcher was killed in
    the middle may yet appear; it was never answered, so it is asked for again under its token."""
    token_lifetime = 86_400.0

    def __init__(self, settings: LocalSettings, context: ProviderContext) -> None:
        self._context = context
        self._clock = context.clock
        self._log = structlog.get_logger("slotsmith").bind(pool=context.pool, provider="local")
        self._records = Records(_pool_directory(settings, context), self._log)
        self._launcher = Launcher(settings, context, self._records)
        self._endings = Endings(self._records, settings.stop_grace, self._clock, self._log)
        self._stirred = asyncio.Event()
        self._exits = ExitWatch(self._stirred.set)
        self._task: asyncio.Task[None] | None = None
        self._told: dict[str, InstanceState] = {}
        self._tidied_at = 0.0

    async def setup(self) -> None:
        """Check that the command exists, and that records can be kept. Raises ProviderError (INVALID) otherwise."""
        self._launcher.check()
        try:
            self._records.make()
        except OSError as error:
            reason = provider_error(error, f"the state directory {self._records.path} cannot be used")
            raise ProviderError(ErrorKind.INVALID, str(reason)) from error
        self._keep_watch()

    def offerings(self) -> Sequence[Offering]:
        return self._launcher.offerings

    async def list_instances(self) -> Sequence[Instance]:
        self._keep_watch()
        try:
            seen = self._records.look()
        except OSError as error:
            raise provider_error(error, "the instances cannot be listed") from error
        if not all(map(self._endings.knows, seen)):
            # Another program, or this one before a restart, has asked for an end.
            self._stirred.set()
        return [one.instance for one in seen]

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        self._keep_watch()
        try:
            return await self._launcher.launch(request)
        finally:
            self._stirred.set()

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        self._keep_watch()
        try:
            return await self._endings.begin(instance_ids)
        except OSError as error:
            raise provider_error(error, "the instances cannot be looked at") from error
        finally:
            self._stirred.set()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._exits.close()
        reap()

    def _keep_watch(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name=f"local provider of {self._context.pool}")

    async def _watch(self) -> None:
        while True:
            self._stirred.clear()
            try:
                wait = await self._round()
            except Exception as error:  # noqa: BLE001 - whatever went wrong once, terminations must be followed up
                self._log.warning("looking after the instances failed", error=repr(error))
                wait = _LATEST_LOOK
            # Not asyncio.wait_for: in Python 3.11 it may swallow the cancellation by `close`.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stirred.wait()

    async def _round(self) -> float:
        """Look, carry on what is to be carried on, tell of changes. Returns after how many seconds to look again."""
        reap()
        seen = self._records.look()
        if await self._endings.follow_up(seen):
            seen = self._records.look()
        states = {one.instance.id: one.instance.state for one in seen}
        if states != self._told:
            self._told = states
            self._context.wake()
        everything_watched = self._exits.follow([one.watch for one in seen if one.watch is not None])
        await self._tidy()
        waits = [self._next_look(one) for one in seen]
        return min(waits, default=_TIDY_PERIOD) if everything_watched else min([_LATEST_LOOK, *waits])

    def _next_look(self, seen: Seen) -> float:
        """Seconds until this instance may have changed without an event to tell of it."""
        state = seen.instance.state
        if state is InstanceState.STARTING:
            late = self._clock.now() - seen.boots_at
            return _SOONEST_LOOK - late if late < 0 else _doubled(late)
        if state is InstanceState.TERMINATING:
            return _doubled(self._endings.waited(seen.instance.id))
        if state is InstanceState.RUNNING and seen.watch is None:
            return _LATEST_LOOK
        return _TIDY_PERIOD

    async def _tidy(self) -> None:
        now = self._clock.now()
        if now - self._tidied_at >= _TIDY_PERIOD:
            self._tidied_at = now
            await asyncio.to_thread(self._records.tidy, now - self.token_lifetime)


def _doubled(waited: float) -> float:
    """The next wait when that much was waited so far."""
    return min(max(_SOONEST_LOOK, waited), _LATEST_LOOK)


def _pool_directory(settings: LocalSettings, context: ProviderContext) -> Path:
    """One directory for each pool of each cluster, also when several are told to keep their state in one place."""
    root = settings.state_dir or context.state_dir
    return root.expanduser().resolve() / f"{quote(context.cluster, safe='')}@{quote(context.pool, safe='')}"
