"""A scheduler in the same process: it pushes its view, and is asked to give agents up through a callback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.schedulers.base import (
    DrainAnswer,
    DrainOutcome,
    SchedulerContext,
    SchedulerPlugin,
    SchedulerSettings,
)

Drain = Callable[[Sequence[str], bool], Awaitable[Mapping[str, DrainAnswer]]]
"""Called with agent names and `when_done`, see `Scheduler.drain`."""


class PushSettings(SchedulerSettings):
    """`scheduler: {type: push}`."""

    type: Literal["push"] = "push"


class PushScheduler:
    """The connector for a program that embeds a `Provisioner`.

    Without a `drain` callback an agent is released when the last pushed view says that it is idle or gone, waits when
    the view says that it is busy, and refuses when it is busy and was to go at once.
    """

    poll_period = 3600.0  # a push wakes the pool by itself

    def __init__(self, context: SchedulerContext, drain: Drain | None = None) -> None:
        self._context = context
        self._drain = drain
        self._info: ScalingInfo | None = None

    def push(self, info: ScalingInfo) -> bool:
        """Hand over a new view; False when it equals the last one."""
        if info == self._info:
            return False
        self._info = info
        self._context.wake()
        return True

    async def setup(self) -> None:
        """Nothing to connect to."""

    async def scaling_info(self) -> ScalingInfo | None:
        return self._info

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        if self._drain is not None:
            return await self._drain(agents, when_done)
        busy = {agent.name for agent in self._info.agents if not agent.idle} if self._info else set()
        otherwise = DrainOutcome.WAITING if when_done else DrainOutcome.REFUSED
        return {
            name: DrainAnswer(otherwise, "busy in the last view")
            if name in busy
            else DrainAnswer(DrainOutcome.RELEASED)
            for name in agents
        }

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        """A pushed view has no state to take back."""

    async def close(self) -> None:
        """Nothing to let go of."""


def _create(_settings: PushSettings, context: SchedulerContext) -> PushScheduler:
    return PushScheduler(context)


plugin = SchedulerPlugin(PushSettings, _create)
