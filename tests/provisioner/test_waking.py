"""When a pool wakes by itself, and what it asks for after a long absence; all of it in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from provisioner.world import FakeProvider, World
from slotsmith.core.rules import REFERENCE
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderError
from slotsmith.provisioner.books import REFUSAL_HOLDS
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome
from slotsmith.simulation.loop import VirtualClock, run_virtually


@asynccontextmanager
async def running(world: World) -> Any:
    task = asyncio.create_task(world.pool.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def in_a_world(check: Callable[[World], Coroutine[Any, Any, None]], **limits: float) -> None:
    async def main(clock: VirtualClock) -> None:
        await check(World(clock=clock, **limits))  # type: ignore[arg-type]

    run_virtually(main)


def test_a_quiet_pool_looks_at_the_provider_and_decides_nothing() -> None:
    async def check(world: World) -> None:
        world.push(desired=1)
        async with running(world):
            await world.clock.sleep(60)
            passes = world.pool.last_decision
            lists = len(world.provider.made("list"))
            await world.clock.sleep(200)
            assert world.pool.last_decision is passes
            assert len(world.provider.made("list")) == lists

    in_a_world(check)


def test_an_agent_that_was_refused_is_asked_for_again_when_the_hold_is_over() -> None:
    async def check(world: World) -> None:
        world.refusing["a"] = DrainAnswer(DrainOutcome.REFUSED, "it has just got a task")
        async with running(world):
            await world.clock.sleep(1)
            world.provider.add("a")
            world.pool.provider_changed()
            world.push(idle=["a"])
            await world.clock.sleep(101)
            assert len(world.drains) == 1
            await world.clock.sleep(REFUSAL_HOLDS - 2)
            assert len(world.drains) == 1
            await world.clock.sleep(3)
            assert len(world.drains) == 2

    in_a_world(check, max_idle_agent_period=100)


def test_an_agent_that_is_lost_makes_a_listing_due() -> None:
    async def check(world: World) -> None:
        async with running(world):
            await world.clock.sleep(1)
            world.provider.add("a")
            world.pool.provider_changed()
            world.push(busy=["a"])
            await world.clock.sleep(10)
            lists = len(world.provider.made("list"))
            world.provider.set_state("a", InstanceState.STOPPED)
            world.push(desired=0)
            await world.clock.sleep(1)
            assert len(world.provider.made("list")) > lists
            assert not world.provider.instances

    in_a_world(check)


class Forgetful(FakeProvider):
    """Knows a token for ten minutes; launches again for it after that. Its answers are lost."""

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        asked = [at for at, token in self.asked if token == request.token]
        if asked and self.clock.now() > asked[0] + self.token_lifetime:
            del self.by_token[request.token]
        self.asked.append((self.clock.now(), request.token))
        await super().launch(request)
        raise ProviderError(ErrorKind.TRANSIENT, "the answer was lost")

    @property
    def asked(self) -> list[tuple[float, str]]:
        found: list[tuple[float, str]] = self.__dict__.setdefault("_asked", [])
        return found


@pytest.mark.parametrize("absence", [0, 590, 3600])
def test_an_expired_token_is_never_asked_for_again(absence: float) -> None:
    async def check(world: World) -> None:
        world.provider = provider = Forgetful(world.clock, token_lifetime=600.0)
        world.pool = world.provisioner()
        world.push(desired=2)
        async with running(world):
            await world.clock.sleep(5)
        assert set(provider.instances) == {"t1-0", "t1-1"}
        await world.clock.sleep(absence)
        world.pool = world.provisioner()
        world.push(desired=2)
        async with running(world):
            await world.clock.sleep(1500)
            assert all(at < provider.asked[0][0] + 600 for at, _ in provider.asked)
            assert set(provider.instances) == {"t1-0", "t1-1"}
            assert world.store.load("p").intents == ()

    in_a_world(check, max_agent_starting_period=7200)


def test_the_rules_of_the_reference_decide_at_its_ticks_only() -> None:
    async def check(world: World) -> None:
        world.pool._rules = REFERENCE
        async with running(world):
            await world.clock.sleep(7)
            world.push(desired=1)
            await world.clock.sleep(2)
            assert not world.provider.instances
            await world.clock.sleep(1.1)
            assert len(world.provider.instances) == 1
            assert world.pool.last_decision is not None
            assert world.pool.last_decision.at % 5 == 0

    in_a_world(check)


def test_i8_what_is_pushed_after_a_slow_pass_is_decided_upon_within_a_second() -> None:
    async def check(world: World) -> None:
        async with running(world):
            await world.clock.sleep(1)
            world.disk.takes = [0.45]
            world.push(desired=1)
            await world.clock.sleep(0.46)
            assert len(world.provider.instances) == 1
            pushed = world.clock.now()
            world.push(desired=3)
            await world.clock.sleep(0.9)
            assert world.pool.last_decision is not None
            assert world.pool.last_decision.at > pushed
            assert len(world.provider.instances) == 3

    in_a_world(check)


def test_a_refusal_is_taken_in_at_once_however_slow_the_pass_before() -> None:
    async def check(world: World) -> None:
        async with running(world):
            await world.clock.sleep(1)
            world.disk.takes = [0.1]
            world.provider.launch_faults = [ProviderError(ErrorKind.CAPACITY, "none left")]
            pushed = world.clock.now()
            world.push(desired=1)
            await world.clock.sleep(0.12)
            assert world.pool.last_decision is not None
            assert world.pool.last_decision.at > pushed + 0.1
            assert [each.count for each in world.pool.last_decision.unmet] == [1]

    in_a_world(check)
