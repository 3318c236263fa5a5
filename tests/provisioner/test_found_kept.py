"""What the scheduler keeps is not asked for again at once, whatever it was to go for."""

from __future__ import annotations

from provisioner.virtual_world import AT_WORK, launched, running, show, virtually
from provisioner.world import World
from slotsmith.model.instance import InstanceState
from slotsmith.provisioner.books import REFUSAL_HOLDS


@virtually()
async def test_a_request_that_is_refused_is_not_asked_for_a_hundred_times_a_second(world: World) -> None:
    """A request that nobody needed was at work, and the listing lagged: while it did, the pool did nothing but ask."""
    async with running(world):
        name = await launched(world, InstanceState.PENDING_REQUEST)
        world.refusing[name] = AT_WORK
        world.push(desired=0)
        await world.clock.sleep(1)
        assert world.drains == [((name,), False)]
        await world.clock.sleep(REFUSAL_HOLDS - 2)
        assert world.drains == [((name,), False)]
        await world.clock.sleep(2)
        assert world.drains == [((name,), False)] * 2, "the hold is over"
        assert world.provider.made("terminate") == []


@virtually()
async def test_one_that_is_up_and_listed_as_stopped_is_not_decided_on_a_hundred_times_a_second(world: World) -> None:
    """A stopped machine was started again and idle, and the listing lagged: while it did, the pool burnt a CPU."""
    async with running(world):
        name = await launched(world)
        show(world, name, InstanceState.STOPPED)
        world.push(desired=0, idle=[name])
        for wait in (1, REFUSAL_HOLDS - 2):
            await world.clock.sleep(wait)
            notes = [move.note for move in world.store.moves("p", instance_id=name, limit=1000)]
            assert notes.count("kept: its agent has joined") == 1
        assert world.provider.made("terminate") == []
