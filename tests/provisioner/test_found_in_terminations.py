"""Terminations that killed work once, because nobody looked again before the call; each says what was lost."""

from __future__ import annotations

import pytest

from provisioner.virtual_world import AT_WORK, NO_ANSWER, Cloud, in_a_world, launched, running, show, virtually
from provisioner.world import World
from slotsmith.model.instance import InstanceState
from slotsmith.model.steering import Steering
from slotsmith.provisioner.operating import By
from slotsmith.provisioner.terminating import STILL_LISTED
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome
from slotsmith.store.base import Changes


def cloud_of(world: World) -> Cloud:
    assert isinstance(world.provider, Cloud)
    return world.provider


@virtually()
async def test_i4_a_request_that_nobody_needs_is_asked_for_before_it_is_cancelled(world: World) -> None:
    """It had been granted meanwhile and had a task, which the listing did not show: the task was killed."""
    async with running(world):
        name = await launched(world, InstanceState.PENDING_REQUEST)
        world.refusing[name] = AT_WORK
        world.push(desired=0)
        await world.clock.sleep(0.01)
        assert set(world.drains) == {((name,), False)}
        world.push(desired=0, busy=[name])
        await world.clock.sleep(0.01)
        asked = len(world.drains)
        await world.clock.sleep(100)
        assert len(world.drains) == asked, "it has an agent, so that it is no request any more"
        assert world.provider.made("terminate") == []


@virtually()
async def test_i4_an_agent_that_joins_while_an_answer_is_on_its_way_keeps_its_task(world: World) -> None:
    """The scheduler gave up an agent that it did not know yet, which then joined and was killed at its first task."""
    async with running(world):
        name = await launched(world, InstanceState.PENDING_REQUEST)
        world.drain_takes = [10.0]
        world.push(desired=0)
        await world.clock.sleep(5)
        assert world.drains == [((name,), False)]
        show(world, name, InstanceState.RUNNING)
        world.refusing[name] = AT_WORK
        world.push(desired=0, busy=[name])
        await world.clock.sleep(10)
        assert world.drains == [((name,), False)] * 2
        assert world.provider.made("terminate") == []


@virtually()
async def test_i4_a_view_that_waits_for_the_store_is_heard_before_a_call_is_repeated(world: World) -> None:
    """It was stopped, the call had no effect, somebody started it again, and the repeat of the call killed its task."""
    cloud = cloud_of(world)
    async with running(world):
        name = await launched(world)
        cloud.deaf = True
        show(world, name, InstanceState.STOPPED)
        await world.clock.sleep(1)
        assert cloud.made("terminate") == [(name,)]
        world.disk.takes = [2 * STILL_LISTED]
        world.push(desired=2)
        await world.clock.sleep(1)
        assert not world.disk.takes, "a pass waits for the store"
        world.push(desired=0, busy=[name])
        await world.clock.sleep(3 * STILL_LISTED)
        assert cloud.made("terminate") == [(name,)]
        assert world.store.moves("p", instance_id=name)[-1].note == "kept: its agent has joined"


@virtually()
async def test_i4_a_request_that_was_granted_although_it_was_cancelled_keeps_its_task(world: World) -> None:
    """The cloud granted a cancelled request all the same, it got a task, and the repeat of the call killed that."""
    cloud = cloud_of(world)
    async with running(world):
        name = await launched(world, InstanceState.PENDING_REQUEST)
        cloud.deaf = True
        world.push(desired=0)
        await world.clock.sleep(10)
        assert cloud.made("terminate") == [(name,)]
        show(world, name, InstanceState.RUNNING)
        world.refusing[name] = AT_WORK
        world.push(desired=0, busy=[name])
        await world.clock.sleep(10 * STILL_LISTED)
        assert cloud.made("terminate") == [(name,)]
        assert world.store.moves("p", instance_id=name)[-1].note == "kept: it is at work"


@virtually(max_idle_agent_period=100)
async def test_i4_an_idle_agent_that_outlived_its_termination_is_asked_for_again(world: World) -> None:
    """The call had no effect, the agent went back to work, and the repeat of the call killed that."""
    cloud = cloud_of(world)
    async with running(world):
        name = await launched(world)
        cloud.deaf = True
        world.push(desired=0, idle=[name])
        await world.clock.sleep(101)
        assert (world.drains, cloud.made("terminate")) == ([((name,), False)], [(name,)])
        world.refusing[name] = AT_WORK
        world.push(desired=0, busy=[name])
        await world.clock.sleep(10 * STILL_LISTED)
        assert (len(world.drains), cloud.made("terminate")) == (2, [(name,)])


@virtually(max_idle_agent_period=100)
async def test_i7_every_repeat_of_a_termination_comes_after_a_drain(world: World) -> None:
    """An agent that stays idle is asked for again too: whether it is idle, only the scheduler knows for sure."""
    cloud = cloud_of(world)
    async with running(world):
        name = await launched(world)
        cloud.deaf = True
        world.push(desired=0, idle=[name])
        await world.clock.sleep(101 + 2.5 * STILL_LISTED)
        assert (world.drains, cloud.made("terminate")) == ([((name,), False)] * 3, [(name,)] * 3)
        cloud.deaf = False
        await world.clock.sleep(STILL_LISTED)
        assert not cloud.instances


@virtually(max_instances=2)
async def test_i4_over_the_maximum_a_repeat_waits_for_tasks_that_have_begun_since(world: World) -> None:
    """No agent was there when it was let go; the call had no effect, one joined, and the repeat killed its job."""
    cloud = cloud_of(world)
    async with running(world):
        await launched(world)
        newest = await launched(world, coming=1)
    world.policy = type(world.policy)(max_instances=1)
    cloud.deaf = True
    async with running(world):
        world.push(desired=0)
        await world.clock.sleep(5)
        assert cloud.made("terminate") == [(newest,)]
        world.refusing[newest] = DrainAnswer(DrainOutcome.WAITING, "one task left")
        world.push(desired=0, busy=[newest])
        await world.clock.sleep(3 * STILL_LISTED)
        assert cloud.made("terminate") == [(newest,)]
        world.refusing.clear()
        await world.clock.sleep(STILL_LISTED)
        assert cloud.made("terminate") == [(newest,), (newest,)]


@pytest.mark.parametrize("heard_at", [0.0, 20.0])
def test_i4_a_restart_asks_for_an_agent_again_before_it_goes_on_to_terminate(heard_at: float) -> None:
    """An agent was let go, the program died before the call was made, and the agent got its next task.

    The next start went on where the last had been, before it had heard the scheduler: the task was killed.
    """

    async def check(world: World) -> None:
        cloud = cloud_of(world)
        async with running(world):
            name = await launched(world)
            cloud.terminate_faults = [NO_ANSWER] * 100
            world.push(desired=0, idle=[name])
            await world.clock.sleep(101)
        (record,) = world.store.load("p").instances
        assert record.termination is not None
        cloud.terminate_faults, asked = [], len(cloud.made("terminate"))
        world.refusing[name] = AT_WORK
        await world.clock.sleep(60)
        async with running(world):
            await world.clock.sleep(heard_at)
            world.push(desired=0, busy=[name])
            await world.clock.sleep(200)
            assert len(cloud.made("terminate")) == asked
            assert set(cloud.instances) == {name}
        (record,) = world.store.load("p").instances
        assert record.termination is None

    in_a_world(check, max_idle_agent_period=100)


@virtually(max_idle_agent_period=100)
async def test_i4_a_view_that_came_since_the_drain_is_believed(world: World) -> None:
    """An agent was let go while another call hung; the scheduler forgot that, and the agent got a task, in plain view.

    When the call came through at last, so did the termination of the agent.
    """
    cloud = cloud_of(world)
    async with running(world):
        first = await launched(world)
        second = await launched(world, coming=1)
        world.push(desired=0, idle=[first], busy=[second])
        await world.clock.sleep(5)
        world.push(desired=0, idle=[first, second])
        cloud.terminate_takes = [20.0]
        await world.clock.sleep(105)
        assert world.drains == [((first,), False), ((second,), False)]
        world.refusing[second] = AT_WORK
        world.push(desired=0, idle=[first], busy=[second])
        await world.clock.sleep(100)
        assert cloud.made("terminate") == [(first,)]
        assert set(cloud.instances) == {second}


@pytest.mark.parametrize("listed", [InstanceState.STOPPED, InstanceState.RUNNING])
def test_i4_one_that_was_stopped_is_not_ended_when_it_is_at_work_again(listed: InstanceState) -> None:
    """Its termination was to be repeated; somebody had started it again by then, and its job was killed."""

    async def check(world: World) -> None:
        cloud = cloud_of(world)
        async with running(world):
            name = await launched(world)
            cloud.deaf = True
            show(world, name, InstanceState.STOPPED)
            world.push(desired=0)
            await world.clock.sleep(5)
            assert cloud.made("terminate") == [(name,)]
            show(world, name, listed)
            world.push(desired=0, busy=[name])
            await world.clock.sleep(5 * STILL_LISTED)
            assert cloud.made("terminate") == [(name,)]
            assert "kept: its agent has joined" in {move.note for move in world.store.moves("p", instance_id=name)}

    in_a_world(check)


@virtually()
async def test_i7_one_that_is_ending_is_told_again_though_its_agent_still_answers(world: World) -> None:
    """The other side of it: an agent that dies with its machine must not keep the termination from its end."""
    cloud = cloud_of(world)
    async with running(world):
        name = await launched(world)
        cloud.deaf = True
        show(world, name, InstanceState.STOPPED)
        world.push(desired=0)
        await world.clock.sleep(5)
        show(world, name, InstanceState.TERMINATING)
        await world.clock.sleep(1)
        world.push(desired=0, busy=[name])
        cloud.deaf = False
        await world.clock.sleep(11 * STILL_LISTED)
        assert not cloud.instances


@pytest.mark.parametrize("asked_before", [True, False])
def test_what_an_operator_ends_by_force_ends_after_a_restart_too(asked_before: bool) -> None:
    """The order was remembered in memory alone, so that after a restart a busy agent was asked for, and stayed.

    With `asked_before` false the program died after the order was on record, and before it had any effect.
    """

    async def check(world: World) -> None:
        cloud = cloud_of(world)
        async with running(world):
            name = await launched(world)
            other = await launched(world, coming=1)
            world.push(desired=0, busy=[name, other])
            await world.clock.sleep(1)
            if asked_before:
                cloud.terminate_faults = [NO_ANSWER] * 100
                await world.pool.operating.terminate(name, By("somebody", "a test"))
                await world.clock.sleep(5)
        if not asked_before:
            ordered = Steering(forced=frozenset({name, "gone long ago"}))
            world.store.commit(Changes("p", world.clock.now(), steering=ordered))
        cloud.terminate_faults = []
        world.refusing = {name: AT_WORK, other: AT_WORK}
        await world.clock.sleep(60)
        async with running(world):
            world.push(desired=0, busy=[name, other])
            await world.clock.sleep(2 * STILL_LISTED)
            assert list(cloud.instances) == [other]
        assert world.drains == []

    in_a_world(check, max_instances=2)
