"""A `World` in virtual time, with a provider that can hang, go deaf or lose its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from provisioner.world import FakeProvider, World
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.record import StatisticsSpan
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome
from slotsmith.simulation.loop import VirtualClock, run_virtually

AT_WORK = DrainAnswer(DrainOutcome.REFUSED, "it is at work")
NO_ANSWER = ProviderError(ErrorKind.TRANSIENT, "no answer")


Check = Callable[[World], Coroutine[Any, Any, None]]


def in_a_world(check: Check, **limits: float) -> None:
    """Run a coroutine function over a new world with these limits, in virtual time."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock=clock, **limits)  # type: ignore[arg-type]
        renewed(world)
        await check(world)

    run_virtually(main)


def virtually(**limits: float) -> Callable[[Check], Callable[[], None]]:
    """Make a test of a coroutine function over a world with these limits."""

    def decorate(check: Check) -> Callable[[], None]:
        def test() -> None:
            in_a_world(check, **limits)

        test.__doc__ = check.__doc__
        return test

    return decorate


class Cloud(FakeProvider):
    """Calls of `list` and `terminate` last as many seconds as is put in `list_takes` and `terminate_takes`, once each.

    `silent` until that time: launches are not made and not answered. `mute`: they are made, and never answered.
    `deaf`: terminations are taken on and not carried out.
    """

    list_takes: list[float]
    terminate_takes: list[float]
    silent: float
    mute: bool
    deaf: bool

    async def list_instances(self) -> Sequence[Instance]:
        if self.list_takes:
            await self.clock.sleep(self.list_takes.pop(0))
        return await super().list_instances()

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        if self.clock.now() < self.silent:
            self.calls.append(("launch", request))
            raise NO_ANSWER
        result = await super().launch(request)
        if self.mute:
            raise NO_ANSWER
        return result

    async def terminate(self, instance_ids: Sequence[str]) -> Mapping[str, ProviderError]:
        if self.terminate_takes:
            await self.clock.sleep(self.terminate_takes.pop(0))
        if not self.deaf:
            return await super().terminate(instance_ids)
        self.calls.append(("terminate", tuple(instance_ids)))
        return {}

    @property
    def tokens(self) -> list[str]:
        """The token of each launch call."""
        return [request.token for request in self.made("launch")]  # type: ignore[attr-defined]


def renewed(world: World, **settings: Any) -> Cloud:
    """Another provider with these settings, and a program that has not started yet."""
    world.provider = cloud = Cloud(world.clock, **settings)
    cloud.list_takes, cloud.terminate_takes = [], []
    cloud.silent, cloud.mute, cloud.deaf = 0.0, False, False
    world.pool = world.provisioner()
    return cloud


@asynccontextmanager
async def running(world: World, desired: int | None = None) -> AsyncIterator[None]:
    """The program at work; another than before, on the same store. `desired`: the scheduler asks for so many."""
    world.pool = world.provisioner()
    if desired is not None:
        world.push(desired)
    task = asyncio.create_task(world.pool.run())
    try:
        await world.clock.sleep(0.1)
        yield
        assert not task.done(), "the program has ended by itself"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def launched(world: World, state: InstanceState = InstanceState.RUNNING, *, coming: int = 0) -> str:
    """One more instance, launched by the running program and in its books since just now; its id.

    `coming`: how many have been launched before and have not joined yet.
    """
    before = set(world.provider.instances)
    world.push(coming + 1)
    await world.clock.sleep(0.1)
    (new,) = world.provider.instances.keys() - before
    show(world, new, state)
    await world.clock.sleep(0.1)
    return new


def show(world: World, instance_id: str, state: InstanceState, launched_at: float | None = None) -> None:
    """From now on the provider lists it so."""
    world.provider.set_state(instance_id, state)
    if launched_at is not None:
        instance = world.provider.instances[instance_id]
        world.provider.instances[instance_id] = instance._replace(launched_at=launched_at)
    world.pool.provider_changed()


def hide(world: World, *instance_ids: str) -> None:
    """From now on the listings lack these, and only these."""
    world.provider.hidden = set(instance_ids)
    world.pool.provider_changed()


def vanish(world: World, instance_id: str) -> float:
    """The machine is gone, by nobody's wish; when that was."""
    world.provider.instances.pop(instance_id)
    return world.clock.now()


def paid(world: World, instance_id: str) -> list[StatisticsSpan]:
    """The paid time on record."""
    return [span for span in world.store.spans("p", 0, 1e12) if span.instance_id == instance_id]
