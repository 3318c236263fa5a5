"""What the cloud takes back with a notice: drained at once, replaced before it goes, and paid for until it is gone."""

from __future__ import annotations

import asyncio

import pytest

from provisioner.world import World
from slotsmith.model.decision import Reason
from slotsmith.model.instance import InstanceState
from slotsmith.model.record import Phase
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome

BUSY = DrainAnswer(DrainOutcome.WAITING, "still at work")


def told(world: World, instance_id: str = "a") -> None:
    """The provider gives its notice."""
    world.provider.instances[instance_id] = world.provider.instances[instance_id]._replace(
        reclaimed=True, detail="interruption notice"
    )


async def started(world: World, **agents: list[str]) -> None:
    await world.pool.setup()
    for names in agents.values():
        for name in names:
            world.provider.add(name)
    world.push(0, **agents)
    await world.pool.adopt()
    await world.passes()


def test_i4_a_busy_agent_is_drained_at_once_and_replaced_before_it_goes() -> None:
    async def check() -> None:
        world = World(min_instances=1, max_instances=2)
        await started(world, busy=["a"])
        world.refusing["a"] = BUSY
        told(world)
        await world.passes()
        assert world.drains == [(("a",), True)]
        assert world.pool.last_decision is not None
        assert [(t.id, t.reason) for t in world.pool.last_decision.terminations] == [("a", Reason.RECLAIMED)]
        # In the same pass, while the other is still there and at work.
        assert [launch.reason for launch in world.pool.last_decision.launches] == ["the minimum is 1"]
        assert len(world.provider.instances) == 2
        assert world.provider.made("terminate") == []
        # It is let go of when its work is done.
        del world.refusing["a"]
        await world.passes()
        assert world.provider.made("terminate") == [("a",)]
        assert list(world.provider.instances) == ["t1-0"]

    asyncio.run(check())


def test_i1_without_room_the_replacement_waits_until_the_other_is_gone() -> None:
    async def check() -> None:
        world = World(min_instances=1, max_instances=1)
        await started(world, busy=["a"])
        world.refusing["a"] = BUSY
        told(world)
        await world.passes(3)
        assert world.provider.made("launch") == []
        decision = world.pool.last_decision
        assert decision is not None
        assert "at its maximum of 1 instance" in decision.unmet[0].reason
        del world.provider.instances["a"]
        world.push(0)
        await world.passes(2)
        assert len(world.provider.made("launch")) == 1

    asyncio.run(check())


def test_it_is_paid_for_until_it_is_gone() -> None:
    async def check() -> None:
        world = World(max_instances=2)
        await started(world, busy=["a"])
        world.refusing["a"] = BUSY
        told(world)
        await world.passes(5, step=10.0)
        (span,) = world.store.spans("p", 0.0, 1e9)
        assert span.end is None
        gone_at = world.clock.now()
        world.provider.set_state("a", InstanceState.TERMINATING)
        await world.passes()
        (span,) = world.store.spans("p", 0.0, 1e9)
        assert span.end == pytest.approx(gone_at, abs=1.0)

    asyncio.run(check())


def test_a_notice_that_was_wrong_calls_no_drain_off_and_a_restart_goes_on_with_it() -> None:
    async def check() -> None:
        world = World(max_instances=2)
        await started(world, busy=["a"])
        world.refusing["a"] = BUSY
        told(world)
        await world.passes()
        world.provider.instances["a"] = world.provider.instances["a"]._replace(reclaimed=False, detail="")
        await world.passes()
        world.pool = world.provisioner()
        await world.pool.setup()
        world.push(0, busy=["a"])
        await world.passes()
        (record,) = world.store.load("p").instances
        assert record.termination is not None
        assert (record.termination.reason, record.termination.phase) == (Reason.RECLAIMED, Phase.DRAINING)
        assert world.drains[-1] == (("a",), True)

    asyncio.run(check())


def test_what_is_over_the_maximum_is_counted_without_what_the_cloud_takes() -> None:
    async def check() -> None:
        world = World(max_instances=3)
        await started(world, idle=["a", "b", "c"])
        world.policy = world.pool.policy
        told(world)
        world.refusing["a"] = BUSY
        world.provider.add("d")
        world.push(0, idle=["a", "b", "c", "d"])
        await world.passes()
        decision = world.pool.last_decision
        assert decision is not None
        # Three of them stay, which is the maximum: none of them goes beside the one that the cloud takes.
        assert [t.reason for t in decision.terminations] == [Reason.RECLAIMED]

    asyncio.run(check())
