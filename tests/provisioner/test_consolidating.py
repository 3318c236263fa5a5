"""Consolidation in a pool that runs: launch, join, drain, terminate; and what is remembered when a move fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from provisioner.test_several_offerings import SeveralProvider
from provisioner.world import World
from slotsmith.core.consolidation import MOVE_PATIENCE
from slotsmith.core.recording import fold
from slotsmith.core.replay import parse_cases, run_case
from slotsmith.model.agent import Agent
from slotsmith.model.decision import Reason
from slotsmith.model.instance import Instance, InstanceState
from slotsmith.model.offering import Offering
from slotsmith.model.policy import Consolidation, Policy, Window
from slotsmith.model.resources import Resources
from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.provisioner.moving import SETTLED_HOLDS
from slotsmith.provisioner.schedule import Schedule
from slotsmith.schedulers.base import DrainAnswer, DrainOutcome

BIG = Offering("big", Resources(8), price=8.0)
CHEAP = Offering("cheap", Resources(2), price=1.0)
PERIOD = 1200.0


class Provider(SeveralProvider):
    on_offer = (BIG, CHEAP)


def world_of(**more: object) -> World:
    world = World(**{"max_instances": 4, "consolidation": Consolidation(), **more})  # type: ignore[arg-type]
    world.provider = Provider(world.clock)
    world.pool = world.provisioner()
    return world


async def begin(world: World, *, used: int) -> None:
    """A pool with one instance, which has been idle or lightly used for long."""
    await world.pool.setup()
    await world.pool.adopt()
    now = world.clock.now()
    world.provider.instances["old"] = Instance("old", InstanceState.RUNNING, now, "old", "", BIG.name, BIG.capacity)
    push(world, old_used=used)
    await world.passes(2)
    world.clock.at += PERIOD
    await world.passes(2)


def push(world: World, *, old_used: int | None, movable: bool = True) -> None:
    """All that is listed has an agent; what replaces is idle, the old one uses so many slots (None = it is gone)."""
    agents = []
    for each in world.provider.instances.values():
        used = (old_used or 0) if each.id == "old" else 0
        agents.append(Agent(each.agent_name, not used, each.capacity, Resources(used), movable=movable))
    world.pool.update_scaling_info(ScalingInfo(tuple(agents)))


def launched(world: World) -> list[str]:
    return [call.offering.name for call in world.provider.made("launch")]  # type: ignore[attr-defined]


async def until_replaced(world: World, *, used: int) -> None:
    """The old one is lightly used, or idle, for long enough; a replacement is launched and its agent joins."""
    await begin(world, used=used)
    assert launched(world) == [CHEAP.name]
    assert not world.drains, "nothing is given up before its replacement is at work"
    push(world, old_used=used)


@pytest.mark.parametrize("used", [0, 2])
def test_the_old_one_goes_once_its_replacement_is_at_work(used: int) -> None:
    async def check() -> None:
        world = world_of(min_instances=1)
        await until_replaced(world, used=used)
        await world.passes(4)
        # What is idle is given up only while it is; what works finishes or moves its work first.
        assert world.drains[0] == (("old",), bool(used))
        assert [*world.provider.instances] == ["t1-0"]
        push(world, old_used=None)
        await world.passes(4)
        world.clock.at += 2 * PERIOD
        await world.passes(4)
        assert launched(world) == [CHEAP.name]
        assert [*world.provider.instances] == ["t1-0"]

    asyncio.run(check())


def test_moves_on_record_are_told_again_by_replay() -> None:
    async def check() -> None:
        world = world_of(min_instances=1)
        await until_replaced(world, used=2)
        await world.passes(2)
        (case,) = parse_cases(fold("p", world.store.recorded_views("p")))
        assert case.policy == world.policy
        told = list(run_case(case))
        assert [tick.launch for tick in told if tick.launch] == [1]
        assert [each.reason for tick in told for each in tick.terminations] == [Reason.CONSOLIDATED]

    asyncio.run(check())


def test_i4_an_agent_that_its_scheduler_keeps_stays_and_is_left_alone_for_long() -> None:
    async def check() -> None:
        world = world_of()
        world.refusing["old"] = DrainAnswer(DrainOutcome.REFUSED, "not now")
        await until_replaced(world, used=2)
        await world.passes(4)
        assert world.provider.made("terminate") == []
        asked = len(world.drains)
        assert asked == 1
        # The replacement serves nobody, and goes when it has been idle for too long.
        world.clock.at += PERIOD
        await world.passes(4)
        assert [*world.provider.instances] == ["old"]
        assert launched(world) == [CHEAP.name]
        world.clock.at += SETTLED_HOLDS
        push(world, old_used=2)
        await world.passes(4)
        assert launched(world) == [CHEAP.name, CHEAP.name]

    asyncio.run(check())


def test_i4_work_that_is_not_moved_in_time_goes_on_where_it_is() -> None:
    async def check() -> None:
        world = world_of()
        world.refusing["old"] = DrainAnswer(DrainOutcome.WAITING, "it moves")
        await until_replaced(world, used=2)
        await world.passes(3)
        assert world.drains[0] == (("old",), True)
        assert world.undrained == []
        world.clock.at += MOVE_PATIENCE
        await world.passes(3)
        assert world.provider.made("terminate") == []
        notes = [move.note for move in world.store.moves("p")]
        assert "kept: its work was not moved in time" in notes

    asyncio.run(check())


def test_who_forces_the_end_of_a_pool_does_not_wait_for_a_move() -> None:
    async def check() -> None:
        world = world_of()
        world.refusing["old"] = DrainAnswer(DrainOutcome.WAITING, "it moves")
        await until_replaced(world, used=2)
        await world.passes(3)
        assert world.drains, "it is being drained"
        begun = world.clock.now()
        await world.pool.down(force=True)
        assert world.provider.instances == {}
        assert world.clock.now() < begun + MOVE_PATIENCE / 2

    asyncio.run(check())


def test_work_that_begins_while_the_replacement_starts_keeps_the_old_one() -> None:
    async def check() -> None:
        world = world_of(min_instances=1)
        await until_replaced(world, used=0)
        push(world, old_used=8, movable=False)
        await world.passes(4)
        assert world.drains == []
        assert "old" in world.provider.instances

    asyncio.run(check())


def test_a_dry_run_is_told_by_explain_and_launches_nothing() -> None:
    async def check() -> None:
        world = world_of(min_instances=1, consolidation=Consolidation(dry_run=True))
        await begin(world, used=0)
        assert launched(world) == []
        summary = await world.pool.summary()
        told = world.narrated(summary)
        assert (
            "  old: cheap/on-demand takes its place; saves $7.00 per hour, costs $0.33 once at the most; "
            "moves are only told of (dry_run)"
        ) in told

    asyncio.run(check())


def test_moves_begin_in_their_windows_only() -> None:
    policy = Policy(consolidation=Consolidation())
    nights = Window("0 22 * * *", "Europe/Vienna", 6 * 3600.0)
    schedule = Schedule(policy, (), (nights,))

    def begins(moment: str) -> bool:
        rules = schedule.at(datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("Europe/Vienna")).timestamp())
        assert rules.consolidation is not None
        return rules.consolidation.begins

    assert [begins(f"2026-06-0{day}") for day in ("3T21:59:59", "3T22:00:00", "4T03:59:59", "4T04:00:00")] == [
        False,
        True,
        True,
        False,
    ]
    now = datetime(2026, 6, 3, 12, tzinfo=ZoneInfo("Europe/Vienna")).timestamp()
    assert schedule.next_change(now) == now + 10 * 3600
    plain = Schedule(replace(policy, consolidation=None), (), (nights,))
    assert plain.next_change(now) is None
