"""What a pool recorded is told again by `replay`, decision for decision."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from provisioner.world import World
from slotsmith.core.recording import fold
from slotsmith.core.replay import parse_cases, run_case
from slotsmith.model.decision import Decision
from slotsmith.model.instance import InstanceState
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import ProviderError


async def _lived(world: World, chance: Random) -> list[Decision]:
    """A busy half hour of a small pool, with refusals, deaths and idle times; the decisions that were made."""
    await world.pool.setup()
    decisions = []
    for _ in range(120):
        names = sorted(world.provider.instances)
        joined = [name for name in names if chance.random() < 0.9]
        busy = [name for name in joined if chance.random() < 0.4]
        world.push(chance.choice([0, 0, 1, 3]), busy=busy, idle=[name for name in joined if name not in busy])
        if names and chance.random() < 0.1:
            world.provider.set_state(chance.choice(names), InstanceState.STOPPED)
        if chance.random() < 0.1:
            world.provider.launch_faults = [ProviderError(ErrorKind.CAPACITY, "none left")]
        decision = await world.pool.provision()
        assert decision is not None
        decisions.append(decision)
        world.clock.at += chance.choice([1.0, 5.0, 30.0])
    return decisions


@pytest.mark.parametrize("seed", range(5))
def test_a_recorded_day_is_told_again(seed: int) -> None:
    world = World(max_idle_agent_period=20, max_agent_starting_period=60, max_agent_disconnect_period=30)
    decisions = {decision.at: decision for decision in asyncio.run(_lived(world, Random(seed)))}
    (case,) = parse_cases(fold("p", world.store.recorded_views("p")))
    told = {tick.at: (tick.launch, set(tick.terminations)) for tick in run_case(case)}
    acted = {at: (d.launch_count, set(d.terminations)) for at, d in decisions.items() if d.launches or d.terminations}
    assert len(acted) > 10
    assert {at: told[at] for at in acted} == acted
    idle = {at for at in told if at not in acted}
    assert all(told[at] == (0, set()) for at in idle)
