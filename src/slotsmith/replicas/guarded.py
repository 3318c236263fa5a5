"""Providers and schedulers that only the replica which leads may ask to do something.

What is asked for is on record under the fence of the lease, so this is not what keeps a launch from happening twice. It
keeps one that has been stopped for a while, and does not know yet that another leads, from asking at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from slotsmith.model.instance import Instance
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import LaunchRequest, LaunchResult, Market, Provider, ProviderError, market_of
from slotsmith.replicas.candidate import MayAct
from slotsmith.schedulers.base import DrainAnswer, ListsDrains, Scheduler, SchedulerError, TakesViews

NOT_LEADING: Final = "this replica cannot say that it still leads, so it asks for nothing"


class GuardedProvider:
    """A provider that launches and terminates only while `may_act` says so."""

    def __init__(self, provider: Provider, may_act: MayAct) -> None:
        self._provider = provider
        self._may_act = may_act
        self._take_over()

    def _take_over(self) -> None:
        self.poll_period = self._provider.poll_period
        self.consistency_window = self._provider.consistency_window
        self.token_lifetime = self._provider.token_lifetime

    async def setup(self) -> None:
        await self._provider.setup()
        # Some know these only now.
        self._take_over()

    def offerings(self) -> Sequence[Offering]:
        return self._provider.offerings()

    def market(self) -> Market:
        return market_of(self._provider)

    async def list_instances(self) -> Sequence[Instance]:
        return await self._provider.list_instances()

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        self._check()
        return await self._provider.launch(request)

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        self._check()
        return await self._provider.terminate(instance_ids)

    async def close(self) -> None:
        await self._provider.close()

    def _check(self) -> None:
        if not self._may_act():
            # Not known whether it happened: it may have, by an earlier call or another replica's.
            raise ProviderError(ErrorKind.TRANSIENT, NOT_LEADING)


class GuardedScheduler:
    """A scheduler that is asked for agents only while `may_act` says so."""

    def __init__(self, scheduler: Scheduler, may_act: MayAct) -> None:
        self.poll_period = scheduler.poll_period
        self._scheduler = scheduler
        self._may_act = may_act

    async def setup(self) -> None:
        await self._scheduler.setup()
        self.poll_period = self._scheduler.poll_period

    async def scaling_info(self) -> ScalingInfo | None:
        return await self._scheduler.scaling_info()

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        self._check()
        return await self._scheduler.drain(agents, when_done=when_done)

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        self._check()
        await self._scheduler.cancel_drain(agents)

    async def close(self) -> None:
        await self._scheduler.close()

    def _check(self) -> None:
        if not self._may_act():
            raise SchedulerError(NOT_LEADING)


def guarded_scheduler(scheduler: Scheduler, may_act: MayAct) -> Scheduler:
    """A scheduler that is asked for agents only while `may_act` says so; one that comes by itself needs no guard."""
    return scheduler if isinstance(scheduler, ListsDrains | TakesViews) else GuardedScheduler(scheduler, may_act)
