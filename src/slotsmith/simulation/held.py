"""What a process that may stand still holds of the world: nothing of it goes on before the process does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from slotsmith.clock import Clock
from slotsmith.model.instance import Instance
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.providers.base import LaunchRequest, LaunchResult, Provider, ProviderError
from slotsmith.replicas.candidate import MayAct
from slotsmith.replicas.guarded import GuardedProvider, GuardedScheduler
from slotsmith.schedulers.base import DrainAnswer, Scheduler, TakesViews
from slotsmith.simulation.generation import Generation


class HeldClock:
    """The clock of a process that may stand still: whoever sleeps wakes when it goes on."""

    def __init__(self, clock: Clock, generation: Generation) -> None:
        self._clock = clock
        self._generation = generation

    def now(self) -> float:
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self._generation.going_on()


class HeldProvider(GuardedProvider):
    """The program's own guard, before which a call waits while the process stands still."""

    def __init__(self, provider: Provider, may_act: MayAct, generation: Generation) -> None:
        super().__init__(provider, may_act)
        self._generation = generation

    async def setup(self) -> None:
        await self._generation.going_on()
        await super().setup()

    async def list_instances(self) -> Sequence[Instance]:
        await self._generation.going_on()
        return await super().list_instances()

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        await self._generation.going_on()
        return await super().launch(request)

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        await self._generation.going_on()
        return await super().terminate(instance_ids)


class HeldScheduler(GuardedScheduler):
    """The same for a scheduler."""

    def __init__(self, scheduler: Scheduler, may_act: MayAct, generation: Generation) -> None:
        super().__init__(scheduler, may_act)
        self._generation = generation

    async def setup(self) -> None:
        await self._generation.going_on()
        await super().setup()

    async def scaling_info(self) -> ScalingInfo | None:
        await self._generation.going_on()
        return await super().scaling_info()

    async def drain(self, agents: Sequence[str], *, when_done: bool) -> Mapping[str, DrainAnswer]:
        await self._generation.going_on()
        return await super().drain(agents, when_done=when_done)

    async def cancel_drain(self, agents: Sequence[str]) -> None:
        await self._generation.going_on()
        await super().cancel_drain(agents)


class HeldPushScheduler(HeldScheduler):
    """The same for one that pushes, and knows only by itself which agents it is asked for."""

    def push(self, info: ScalingInfo) -> bool:
        """Hand over a new view."""
        return cast(TakesViews, self._scheduler).push(info)
