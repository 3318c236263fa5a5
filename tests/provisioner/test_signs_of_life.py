"""What is concluded of the time in which nobody looked: until when a machine lived, and whether its agent worked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from provisioner.virtual_world import launched, paid, renewed, running, show, vanish, virtually
from provisioner.world import World
from slotsmith.core.fleet import EMPTY_FLEET, observe
from slotsmith.model.agent import Agent
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.record import InstanceRecord
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.provisioner.absence import Absences
from slotsmith.provisioner.recorder import Bookkeeping
from slotsmith.store.base import Changes


def tell_idle(world: World, name: str, activity: int) -> None:
    world.pool.update_scaling_info(ScalingInfo((Agent(name, True, activity=activity),), desired_new=0))


def on_record(world: World) -> InstanceRecord:
    (record,) = world.store.load("p").instances
    return record


# Until when a machine lived


@pytest.mark.parametrize("window", [0.0, 60.0])
def test_an_agent_that_was_heard_while_nothing_could_be_listed_was_paid_for(window: float) -> None:
    """The machine worked for 100 s of a life of the program that could not list; the books ended before that life."""

    @virtually()
    async def check(world: World) -> None:
        cloud = renewed(world, consistency_window=window)
        async with running(world):
            name = await launched(world)
            world.push(desired=0, busy=[name])
            await world.clock.sleep(10)
        await world.clock.sleep(30)
        cloud.list_takes = [59.0, 59.0, 59.0]
        async with running(world):
            world.push(desired=0, busy=[name])
            await world.clock.sleep(50)
            lost_at = vanish(world, name)
            world.push(desired=0)
            await world.clock.sleep(250)
            assert world.store.load("p").instances == ()
        (span,) = paid(world, name)
        assert span.end == pytest.approx(lost_at, abs=1)

    check()


@virtually(max_agent_starting_period=600)
async def test_a_machine_that_had_to_be_told_twice_was_paid_for_until_then(world: World) -> None:
    """The first call was taken on and not carried out, the second was; nobody could list meanwhile."""
    cloud = renewed(world)
    async with running(world):
        name = await launched(world)
        cloud.terminate_faults = [RuntimeError("no answer")] * 100
        world.push(desired=0)
        await world.clock.sleep(650)
    await world.clock.sleep(600)
    cloud.terminate_faults, cloud.list_takes, cloud.deaf = [], [59.0], True
    async with running(world, desired=0):
        await world.clock.sleep(20)
        assert cloud.instances
        cloud.deaf = False
        before = len(cloud.made("terminate"))
        while len(cloud.made("terminate")) == before:
            await world.clock.sleep(1)
        told_at = world.clock.now()
        await world.clock.sleep(60)
        assert world.store.load("p").instances == ()
    (span,) = paid(world, name)
    assert span.end == pytest.approx(told_at, abs=2)


# Whether its agent worked


@pytest.mark.parametrize(("activity", "starts_anew"), [(7, False), (8, True)])
def test_i11_work_while_the_program_was_down_ends_an_idle_period(activity: int, starts_anew: bool) -> None:
    """It worked until a moment before the restart, and was given up for the idle period from before."""

    @virtually(max_idle_agent_period=1000)
    async def check(world: World) -> None:
        async with running(world):
            name = await launched(world)
            tell_idle(world, name, 7)
            idle_since = world.clock.now()
            await world.clock.sleep(10)
            assert on_record(world).activity == 7
        await world.clock.sleep(500)
        async with running(world):
            restarted_at = world.clock.now()
            tell_idle(world, name, activity)
            await world.clock.sleep(10)
            since = on_record(world).idle_since
            assert since == pytest.approx(restarted_at if starts_anew else idle_since, abs=0.2)
            assert on_record(world).activity == activity

    check()


@virtually(max_idle_agent_period=1000)
async def test_a_record_without_an_activity_keeps_its_idle_clock(world: World) -> None:
    """A store of an older version: nothing is known, so nothing follows; from then on it is."""
    async with running(world):
        name = await launched(world)
        tell_idle(world, name, 7)
        await world.clock.sleep(10)
    kept = on_record(world)
    world.store.commit(Changes("p", world.clock.now(), instances=(replace(kept, activity=None),)))
    async with running(world):
        tell_idle(world, name, 9)
        await world.clock.sleep(10)
        assert on_record(world) == replace(kept, activity=9)


@virtually(max_idle_agent_period=1000)
async def test_i11_work_heard_in_a_life_that_wrote_nothing_ends_an_idle_period(world: World) -> None:
    """A life of the program heard the agent work and died before anything of it was on record."""
    cloud = renewed(world)
    async with running(world):
        name = await launched(world)
        tell_idle(world, name, 7)
        await world.clock.sleep(10)
    cloud.list_takes = [59.0]
    world.pool = world.provisioner()
    await world.pool.setup()
    world.push(busy=[name])
    heard = world.pool
    heard._pool.observe(world.clock.now())
    async with running(world):
        restarted_at = world.clock.now()
        tell_idle(world, name, 8)
        await world.clock.sleep(70)
        assert on_record(world).idle_since == pytest.approx(restarted_at, abs=0.2)


# What may wait to be written


@virtually()
async def test_what_may_wait_is_written_in_time_and_at_the_end(world: World) -> None:
    """Nothing was decided, so what had happened was on record only with the next decision, if ever."""
    lean = Bookkeeping(summary_period=3600.0, sign_of_life=3600.0, record_views=False, write_period=60.0)
    world.pool = world.provisioner()
    world.pool._bookkeeping = lean
    task = asyncio.create_task(world.pool.run())
    await world.clock.sleep(1)
    world.push(desired=1)
    await world.clock.sleep(1)
    (name,) = world.provider.instances
    world.push(desired=0, busy=[name])
    await world.clock.sleep(1)
    show(world, name, InstanceState.STOPPING)
    await world.clock.sleep(30)
    assert [span for span in paid(world, name) if span.end is not None] == []
    await world.clock.sleep(31)
    assert paid(world, name)[0].end is not None
    show(world, name, InstanceState.RUNNING)
    await world.clock.sleep(1)
    world.pool.stop()
    await task
    assert len(paid(world, name)) == 2


# Who is looked for


def test_nobody_is_looked_for_when_all_that_was_known_is_listed_again() -> None:
    """A stranger's machine was missing once and came back; from then on the cloud was listed 200 times a second."""
    absences, machine = Absences(10.0, 0.0), Instance("i-1", InstanceState.RUNNING, 0.0, "i-1")
    listing = (machine,)
    fleet = observe(EMPTY_FLEET, listing, (), 0.0)
    assert absences.complete(listing, fleet, 1.0, 1.0) is listing
    assert absences.complete((), fleet, 2.0, 2.0) == (machine,)
    assert list(absences.looks()) == [12.0]
    assert absences.complete(listing, fleet, 3.0, 3.0) is listing
    assert list(absences.looks()) == []
